"""``source``: servers see the client's own address, or a foreign one, and never, silently, the proxy's."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.interop import headers
from tests.loopback.conftest import Proxy, wait_until
from tests.namespaces.records import record_of
from tests.namespaces.topology import BACK, CROWD, FAMILIES, FOREIGN, FRONT, ONE, Network, net
from tests.namespaces.witness import Ends, Visit, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

OTHER = {"4": "6", "6": "4"}
CLIENT, CLIENT_IP, FIXED, CLAIMED, MISMATCHED = range(9000, 9005)


def config() -> dict[str, Any]:
    made: dict[str, Any] = {"frontends": {}, "backends": {}}

    def add(port: int, family: str, source: Any, to: str, **frontend: Any) -> None:
        name = f"f{port}-{family}"
        made["frontends"][name] = {"bind": f"{net(FRONT[family])}:{port}", "backend": name, **frontend}
        made["backends"][name] = {"source": source, "servers": {"s": f"{net(ONE[to])}:80"}}

    for family in FAMILIES:
        add(CLIENT, family, {"address": "client"}, family)
        add(CLIENT_IP, family, "client_ip", family)
        add(FIXED, family, {"address": net(FOREIGN[family]), "transparent": True}, family)
        add(CLAIMED, family, "client", family, accept_proxy=True)
        add(MISMATCHED, family, "client", OTHER[family])
    return made


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, module_proxy: Any) -> Proxy:
    """A proxy with a frontend of each family for each kind of source."""
    network.take_answers()
    started: Proxy = module_proxy(config(), before=network.proxy.prefix)
    return started


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_sees_the_clients_address_and_port(network: Network, running: Proxy, family: str) -> None:
    with Visit(network.client, (FRONT[family], CLIENT)) as visit:
        assert visit.seen().peer == visit.ends
        assert visit.ask(b"x" * 100_000) == b"x" * 100_000
        ends = visit.ends
    assert record_of(running, ends)["ending"] == "--"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_may_see_the_clients_address_with_another_port(
    network: Network, running: Proxy, family: str
) -> None:
    seen, ends = seen_by(network.client, (FRONT[family], CLIENT_IP))
    assert seen.peer[0] == ends[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_may_see_an_address_that_is_nobodys(network: Network, running: Proxy, family: str) -> None:
    seen, _ = seen_by(network.client, (FRONT[family], FIXED))
    assert seen.peer[0] == FOREIGN[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_client_is_the_one_that_a_proxy_header_names(network: Network, running: Proxy, family: str) -> None:
    claimed = (FOREIGN[family], 40077)
    with Visit(network.client, (FRONT[family], CLAIMED)) as visit:
        visit.socket.sendall(headers.spell("v1", claimed, (FRONT[family], 80)))
        assert visit.seen().peer == claimed


def test_two_hundred_clients_are_two_hundred_peers(network: Network, running: Proxy) -> None:
    def visit(number: int) -> tuple[Any, Ends]:
        return seen_by(network.client, (FRONT["4"], CLIENT), f"{CROWD}{number}")

    with ThreadPoolExecutor(8) as pool:
        visits = list(pool.map(visit, range(1, 201)))
    assert [seen.peer for seen, _ in visits] == [ends for _, ends in visits]
    assert len({seen.peer[0] for seen, _ in visits}) == 200


def refusal(network: Network, running: Proxy, servers: Any, to: Ends, said: bytes = b"") -> dict[str, Any]:
    """Visit ``to``, say ``said``, be refused, with nothing at the server; the record."""
    before = len(servers.one.seen)
    with Visit(network.client, to) as visit:
        visit.socket.sendall(said)
        assert visit.refused()
        ends = visit.ends
    record = record_of(running, ends)
    assert len(servers.one.seen) == before, "the server was reached, from whatever address"
    assert record["ending"] == "RC", record
    assert record["reason"]
    return record


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_of_the_other_family_is_refused_and_logged(
    network: Network, running: Proxy, servers: Any, family: str
) -> None:
    record = refusal(network, running, servers, (FRONT[family], MISMATCHED))
    assert "IPv4" in record["reason"] or "IPv6" in record["reason"] or "family" in record["reason"]
    running.wait_for_stderr(f"f{MISMATCHED}-")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_that_cannot_be_taken_is_refused_and_logged(
    network: Network, running: Proxy, servers: Any, family: str
) -> None:
    """The kernel gives a port of an address to one socket; a listener of ours has the one that is claimed."""
    taken = (BACK[family], 41000)
    with network.proxy.entered():
        holder = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET)
    with holder:
        holder.bind(taken)
        holder.listen()
        claim = headers.spell("v1", taken, (FRONT[family], 80))
        record = refusal(network, running, servers, (FRONT[family], CLAIMED), claim)
    assert "in use" in record["reason"].lower()
    running.wait_for_stderr(f"f{CLAIMED}-{family}")


@pytest.mark.parametrize("host", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "10.2.0.255"])
def test_an_address_in_whose_place_the_kernel_would_take_the_proxys_is_refused_and_logged(
    network: Network, running: Proxy, servers: Any, host: str
) -> None:
    claim = headers.spell("v1", (host, 41001), (FRONT["4"], 80))
    record = refusal(network, running, servers, (FRONT["4"], CLAIMED), claim)
    assert f"{host} is nobody's" in record["reason"].replace(",", "")


def test_health_checks_never_use_a_clients_address(network: Network, servers: Any, proxy: Any) -> None:
    checked = {
        "frontends": {"f": {"bind": f"{FRONT['4']}:9051", "backend": "b"}},
        "backends": {"b": {"source": "client", "check": {"interval": "50ms"}, "servers": {"s": f"{ONE['4']}:8080"}}},
    }
    proxy(checked, before=network.proxy.prefix)
    port = 8080
    with Visit(network.client, (FRONT["4"], 9051)) as visit:
        assert visit.seen().peer == visit.ends
        count = len([seen for seen in servers.one.seen if seen.local[1] == port])
        wait_for_checks(servers, port, count + 3)
        ends = visit.ends
    peers = {seen.peer for seen in servers.one.seen if seen.local[1] == port} - {ends}
    assert {host for host, _ in peers} == {BACK["4"]}


def wait_for_checks(servers: Any, port: int, count: int) -> None:
    """Wait until so many connections have come to ``port`` of the server."""
    wait_until(lambda: sum(seen.local[1] == port for seen in servers.one.seen) >= count, "health checks")
