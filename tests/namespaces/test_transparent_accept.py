"""TPROXY: connections to addresses that are not the proxy's, or nobody's at all."""

import contextlib
from typing import Any

import pytest

from tests.interop import headers
from tests.loopback.conftest import Proxy
from tests.namespaces.records import WITH_PLUGINS, destination, judging, record_of, record_to
from tests.namespaces.topology import BACK, FAMILIES, FAR, FRONT, NOWHERE, ONE, Network, net
from tests.namespaces.witness import Visit, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

SAME, FIXED_PORT, LOWER_PORT, FIXED, OFFSET, ANYWHERE, TO_OURSELVES, JUDGED = range(9000, 9008)
TO = {SAME: "*", FIXED_PORT: "*:8080", LOWER_PORT: "*:-2", ANYWHERE: "*", TO_OURSELVES: f"*:{ANYWHERE}"}
"""Where the frontend on each port has its server."""
INTERCEPTED = {80: SAME, 81: FIXED_PORT, 82: LOWER_PORT, 83: FIXED, 1084: OFFSET, 86: TO_OURSELVES, 87: JUDGED}


def config() -> dict[str, Any]:
    servers: dict[int, Any] = {
        **TO,
        FIXED: {"address": f"{ONE['4']}:80", "send_proxy": "v2"},
        OFFSET: f"{ONE['4']}:-1004",
        JUDGED: f"{ONE['4']}:80",
    }
    own = [net(FRONT[family]) for family in FAMILIES]
    return {
        "plugins": ["lb_destination"],
        "frontends": {
            f"f{port}": {
                "bind": [
                    {"address": f"{host}:{port}", "transparent": True}
                    for host in (["*", "[::]"] if port == ANYWHERE else own)
                ],
                "backend": f"b{port}",
                "policies": [judging(NOWHERE)] if port == JUDGED else [],
            }
            for port in servers
        },
        "backends": {f"b{port}": {"servers": {"s": server}} for port, server in servers.items()},
    }


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, module_proxy: Any) -> Proxy:
    """A proxy with a frontend for each way, which the network sends the ports of ``INTERCEPTED`` to."""
    network.intercept(INTERCEPTED)
    started: Proxy = module_proxy(config(), before=[*network.proxy.prefix, *WITH_PLUGINS])
    return started


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_is_served_at_an_address_that_exists_nowhere(network: Network, running: Proxy, family: str) -> None:
    with Visit(network.client, (NOWHERE[family], 83)) as visit:
        assert visit.seen().server == "one"
        header = visit.ask(b"", headers_length(family))
        ends = visit.ends
    told = headers.read(header)
    assert (told.source, told.destination) == (ends, (NOWHERE[family], 83))
    record = record_of(running, ends)
    assert destination(record) == (NOWHERE[family], 83)
    assert (record["source"], record["source_port"], record["ending"]) == (*ends, "--")


def headers_length(family: str) -> int:
    return 16 + (12 if family == "4" else 36)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("asked", "reached"), [(80, 80), (81, 8080), (82, 80)])
def test_a_server_that_is_an_asterisk_is_where_the_client_wanted_to_go(
    network: Network, running: Proxy, family: str, asked: int, reached: int
) -> None:
    seen, ends = seen_by(network.client, (FAR[family], asked))
    assert seen.local == (FAR[family], reached)
    assert seen.peer[0] == BACK[family]
    assert destination(record_of(running, ends)) == (FAR[family], asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_judges_where_the_client_wanted_to_go(network: Network, running: Proxy, family: str) -> None:
    assert seen_by(network.client, (FAR[family], 87))[0].server == "one"
    with contextlib.suppress(ConnectionResetError), Visit(network.client, (NOWHERE[family], 87)) as visit:
        assert visit.refused()
    assert record_to(running, (NOWHERE[family], 87))["reason"] == "policy 1: nobody goes there"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_port_of_a_server_counts_from_the_port_that_the_client_wanted(
    network: Network, running: Proxy, family: str
) -> None:
    seen, _ = seen_by(network.client, (NOWHERE[family], 1084))
    assert seen.local == (ONE["4"], 80)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "to",
    [
        pytest.param((FRONT, SAME), id="the-listener-itself"),
        pytest.param((FRONT, ANYWHERE), id="a-listener-for-every-address"),
        pytest.param((BACK, ANYWHERE), id="another-address-of-ours"),
        pytest.param((BACK, 86), id="another-listener"),
    ],
)
def test_a_client_that_wants_to_go_to_the_proxy_itself_is_refused(
    network: Network, running: Proxy, servers: Any, family: str, to: tuple[dict[str, str], int]
) -> None:
    hosts, port = to
    before = len(servers.one.seen)
    with Visit(network.client, (hosts[family], port)) as visit:
        assert visit.refused()
        ends = visit.ends
    record = record_of(running, ends)
    assert record["ending"] == "RC"
    assert "itself" in record["reason"] or "loop" in record["reason"] or "our own" in record["reason"]
    assert len(servers.one.seen) == before
    mine = [one for one in running.records(1) if one["peer"] in (FRONT[family], BACK[family])]
    assert mine == [], "the proxy has connected to itself"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_listener_for_every_address_serves_whoever_is_sent_to_it(
    network: Network, running: Proxy, family: str
) -> None:
    network.intercept({**INTERCEPTED, 1080: ANYWHERE})
    seen, _ = seen_by(network.client, (FAR[family], 1080))
    assert seen.local == (FAR[family], 1080)
