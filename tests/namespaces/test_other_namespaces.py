"""A proxy in the namespace of the machine that listens, and reaches its servers, in others."""

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.interop import headers
from tests.loopback.conftest import Proxy, wait_until
from tests.loopback.servers import echo
from tests.namespaces.netns import Namespace
from tests.namespaces.records import record_of
from tests.namespaces.topology import FAMILIES, FOREIGN, FRONT, ONE, TENANT, Network, net
from tests.namespaces.witness import Ends, Visit, Witness, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip")]

NETNS = 0x30
CROWD = 2000
HOME = os.readlink("/proc/self/ns/net")


def tlv(name: str) -> bytes:
    """A TLV that names a network namespace."""
    return bytes([NETNS]) + len(name).to_bytes(2) + name.encode()


def namespaces_of(process: Proxy) -> set[str]:
    """The network namespaces that the threads of a proxy are in."""
    return {os.readlink(task / "ns/net") for task in Path(f"/proc/{process.pid}/task").iterdir()}


@pytest.fixture(scope="module")
def outside_port(free_port: Any) -> int:
    """Where the proxy listens in its own namespace, which is the machine's."""
    port: int = free_port()
    return port


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, module_proxy: Any, outside_port: int) -> Iterator[Proxy]:
    """A proxy outside, with a frontend for each combination; its backends have the same names."""
    front, one, two = network.proxy.name, network.one.name, network.two.name
    with echo(b"outside\n") as outside:
        binds: dict[str, Any] = {
            "same": [inside(front, family, 9000) for family in FAMILIES],
            "one": [inside(front, family, 9001) for family in FAMILIES],
            "two": [inside(front, family, 9002) for family in FAMILIES],
            "path": [inside(str(network.proxy.path), "4", 9003)],
            "out": [inside(front, "4", 9004)],
            "in": f"127.0.0.1:{outside_port}",
            "any": [{"address": "*:9005", "namespace": name} for name in (one, two)],
            "chosen": {**inside(front, "4", 9006), "accept_proxy": {"namespaces": [one, two]}},
            "checked": inside(front, "4", 9007),
        }
        tenant = {f"s{family}": f"{net(TENANT[family])}:80" for family in FAMILIES}
        backends: dict[str, Any] = {
            "same": {"namespace": front, "servers": {"s": f"{ONE['4']}:80"}},
            "one": {"namespace": one, "servers": tenant},
            "two": {"servers": {name: {"address": at, "namespace": two} for name, at in tenant.items()}},
            "path": {"namespace": str(network.proxy.path), "servers": {"s": f"{ONE['4']}:80"}},
            "out": {"servers": {"s": f"127.0.0.1:{outside.port}"}},
            "in": {"namespace": one, "servers": tenant},
            "any": {"namespace": "*", "servers": tenant},
            "chosen": {"namespace": "*", "servers": {"s": f"{TENANT['4']}:80"}},
            "checked": {
                "namespace": two,
                "check": {"interval": "50ms", "rise": 1},
                "servers": {"s": f"{TENANT['4']}:1080"},
            },
        }
        frontends = {name: {"bind": bind, "backend": name} for name, bind in binds.items()}
        yield module_proxy({"frontends": frontends, "backends": backends})


def inside(namespace: str, family: str, port: int) -> dict[str, str]:
    return {"address": f"{net(FRONT[family])}:{port}", "namespace": namespace}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tenant", ["one", "two"])
def test_each_tenant_has_its_own_server_at_the_same_address(
    network: Network, running: Proxy, family: str, tenant: str
) -> None:
    port = {"one": 9001, "two": 9002}[tenant]
    seen = [seen_by(network.client, (FRONT[family], port))[0] for _ in FAMILIES]
    assert [one.server for one in seen] == [tenant, tenant]
    assert {one.local for one in seen} == {(host, 80) for host in TENANT.values()}


@pytest.mark.parametrize("family", FAMILIES)
def test_listening_and_connecting_in_one_namespace(network: Network, running: Proxy, family: str) -> None:
    seen, ends = seen_by(network.client, (FRONT[family], 9000))
    assert seen.local == (ONE["4"], 80)
    assert record_of(running, ends)["destination"] == FRONT[family]


def test_a_namespace_may_be_a_path(network: Network, running: Proxy) -> None:
    assert seen_by(network.client, (FRONT["4"], 9003))[0].server == "one"


def test_listening_inside_and_connecting_outside(network: Network, running: Proxy) -> None:
    with Visit(network.client, (FRONT["4"], 9004)) as visit:
        assert visit.ask(b"", 8) == b"outside\n"


def test_listening_outside_and_connecting_inside(running: Proxy, outside_port: int) -> None:
    with socket.create_connection(("127.0.0.1", outside_port), 5) as client, client.makefile("rb") as received:
        assert b'"one"' in received.readline()


@pytest.mark.parametrize("tenant", ["one", "two"])
def test_an_asterisk_is_the_namespace_that_the_client_is_in(network: Network, running: Proxy, tenant: str) -> None:
    namespace: Namespace = getattr(network, tenant)
    assert seen_by(namespace, ("127.0.0.1", 9005))[0].server == tenant


@pytest.mark.parametrize("tenant", ["one", "two"])
def test_a_proxy_header_chooses_a_namespace_that_is_listed(network: Network, running: Proxy, tenant: str) -> None:
    namespace: Namespace = getattr(network, tenant)
    with Visit(network.client, (FRONT["4"], 9006)) as visit:
        ends: Ends = (FOREIGN["4"], 1234)
        visit.socket.sendall(headers.binary(ends, (FRONT["4"], 80), tlv(namespace.name)))
        assert visit.seen().server == tenant


@pytest.mark.parametrize("name", ["proxy", "nowhere"])
def test_a_proxy_header_that_chooses_another_is_refused(
    network: Network, running: Proxy, servers: Any, name: str
) -> None:
    before = sum(seen.local[1] == 80 for one in servers for seen in one.seen)
    unlisted = network.proxy.name if name == "proxy" else name
    with Visit(network.client, (FRONT["4"], 9006)) as visit:
        header = headers.binary((FOREIGN["4"], 1234), (FRONT["4"], 80), tlv(unlisted))
        visit.socket.sendall(header)
        assert visit.refused()
        ends = visit.ends
    record = record_of(running, ends)
    assert record["ending"] == "PR"
    assert "namespace" in record["reason"]
    assert sum(seen.local[1] == 80 for one in servers for seen in one.seen) == before, "a server was reached"


def test_health_checks_are_made_in_the_servers_namespace(network: Network, running: Proxy, servers: Any) -> None:
    wait_until(lambda: any(seen.local == (TENANT["4"], 1080) for seen in servers.two.seen), "a health check")
    assert seen_by(network.client, (FRONT["4"], 9007))[0].server == "two"


def test_the_proxy_stays_where_it_is(network: Network, running: Proxy) -> None:
    """Thousands of sockets: two of each connection are made in a namespace, or accepted in one."""
    hosts = (FRONT["4"], 9001)
    seen_by(network.client, hosts)
    before = running.descriptors()
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: seen_by(network.client, hosts)[0].server, range(CROWD)))
    assert answers == {"one"}
    assert namespaces_of(running) == {HOME}
    wait_until(lambda: running.descriptors() <= before, "every descriptor is closed again")


def test_one_name_of_an_abstract_socket_is_another_in_each_namespace(
    network: Network, servers: Any, proxy: Any
) -> None:
    name = f"{network.one.name}-front"
    tenants = {"one": network.one, "two": network.two}
    binds = {of: {"address": f"unix:@{name}", "namespace": tenants[of].name} for of in tenants}
    running = proxy(
        {
            "frontends": {of: {"bind": bind, "backend": "b"} for of, bind in binds.items()},
            "backends": {"b": {"namespace": "*", "servers": {"s": f"{TENANT['4']}:80"}}},
        }
    )
    for of, namespace in tenants.items():
        with namespace.entered():
            client = socket.socket(socket.AF_UNIX)
        with client, client.makefile("rb") as received:
            client.settimeout(5)
            client.connect(f"\0{name}")
            assert f'"{of}"'.encode() in received.readline()
    assert [record["frontend"] for record in running.records(2)] == list(tenants)


def test_a_namespace_that_was_made_again_is_opened_again_by_a_reload(network: Network, proxy: Any) -> None:
    again = network.make("again")
    name = again.name
    config = {
        "frontends": {"f": {"bind": {"address": "127.0.0.1:9000", "namespace": name}, "backend": "b"}},
        "backends": {"b": {"namespace": name, "servers": {"s": "127.0.0.1:80"}}},
    }
    first = Witness(again, "first", ("127.0.0.1", 80))
    running = proxy(config)
    assert seen_by(again, ("127.0.0.1", 9000))[0].server == "first"
    again.remove()
    again.make()
    second = Witness(again, "second", ("127.0.0.1", 80))
    with pytest.raises(ConnectionRefusedError):
        seen_by(again, ("127.0.0.1", 9000))
    before = running.descriptors()
    running.reload(config)
    assert seen_by(again, ("127.0.0.1", 9000))[0].server == "second"
    wait_until(lambda: running.descriptors() <= before, "the old namespace is closed")
    assert namespaces_of(running) == {HOME}
    first.close()
    second.close()


def test_a_reload_that_names_a_namespace_that_is_gone_changes_nothing(network: Network, proxy: Any) -> None:
    gone = network.make("gone")
    config = {
        "frontends": {"f": {"bind": {"address": "127.0.0.1:9000", "namespace": gone.name}, "backend": "b"}},
        "backends": {"b": {"namespace": gone.name, "servers": {"s": "127.0.0.1:80"}}},
    }
    with gone.entered():
        client = socket.socket()
    running = proxy(config)
    server = Witness(gone, "still there", ("127.0.0.1", 80))
    gone.remove()
    os.kill(running.pid, signal.SIGHUP)
    running.wait_for_stderr("stays in force")
    refusal = next(line for line in running.stderr().splitlines() if "reload refused" in line)
    assert gone.name in refusal
    with client, client.makefile("rb") as received:
        client.settimeout(5)
        client.connect(("127.0.0.1", 9000))
        assert b"still there" in received.readline()
    server.close()
