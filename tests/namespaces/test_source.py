"""A return address that can be relied on: fixed sources, ranges of ports, interfaces, and ports that do not run out."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.conftest import Proxy
from tests.namespaces.records import record_of
from tests.namespaces.topology import BACK, FRONT, ONE, TENANT, TWO, Network, net
from tests.namespaces.witness import Visit, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

ALIAS = {"4": "10.2.0.50", "6": "fd00:2::50"}
"""A second address of the proxy's."""
RANGE = range(20000, 20010)
FEW = range(40000, 40064)
"""The only ports that the proxy's kernel hands out."""


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, module_proxy: Any) -> Proxy:
    """A proxy with a frontend for each kind of source: its port, and the backend of that number."""
    network.proxy.ip(
        f"addr add {ALIAS['4']}/24 dev one",
        f"addr add {ALIAS['6']}/64 dev one nodad",
        f"route add {TENANT['4']} via {ONE['4']} metric 10",
        f"route add {TENANT['4']} via {TWO['4']} metric 20",
    )
    network.proxy.set("net/ipv4/ip_local_port_range", f"{FEW[0]} {FEW[-1]}")
    both = {"a": f"{ONE['4']}:80", "b": f"{TWO['4']}:80"}
    span = f"{RANGE[0]}-{RANGE[-1]}"
    backends: dict[str, Any] = {
        "9000": {"source": ALIAS["4"], "servers": {"s": f"{ONE['4']}:80"}},
        "9001": {"source": net(ALIAS["6"]), "servers": {"s": f"{net(ONE['6'])}:80"}},
        "9002": {"source": f"{ALIAS['4']}:{span}", "servers": {"s": f"{ONE['4']}:80"}},
        "9003": {"source": f"{ALIAS['4']}:{span}", "servers": both},
        "9004": {"source": ALIAS["4"], "servers": both},
        "9005": {"servers": {"s": f"{TENANT['4']}:80"}},
        "9006": {"source": {"interface": "two"}, "servers": {"s": f"{TENANT['4']}:80"}},
        "9007": {"source": f"[{ALIAS['6']}]:{span}", "servers": {"s": f"{net(ONE['6'])}:80"}},
        "9008": {"source": ALIAS["4"], "servers": {"s": {"address": f"{ONE['4']}:80", "source": False}}},
    }
    frontends = {f"f{port}": {"bind": f"{FRONT['4']}:{port}", "backend": port} for port in backends}
    frontends["inside"] = {"bind": {"address": "*:9020", "interface": "client"}, "backend": "9005"}  # type: ignore[dict-item]
    started: Proxy = module_proxy({"frontends": frontends, "backends": backends}, before=network.proxy.prefix)
    return started


@contextlib.contextmanager
def visits(network: Network, port: int, count: int) -> Iterator[list[Visit]]:
    """So many connections at once, every one of which has reached a server."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Visit(network.client, (FRONT["4"], port))) for _ in range(count)]


@pytest.mark.parametrize(("port", "family"), [(9000, "4"), (9001, "6")])
def test_servers_see_the_address_that_is_set(network: Network, running: Proxy, port: int, family: str) -> None:
    assert seen_by(network.client, (FRONT["4"], port))[0].peer[0] == ALIAS[family]


def test_a_server_may_do_without_its_backends_source(network: Network, running: Proxy) -> None:
    assert seen_by(network.client, (FRONT["4"], 9008))[0].peer[0] == BACK["4"]


@pytest.mark.parametrize(("port", "family"), [(9002, "4"), (9007, "6")])
def test_a_range_of_ten_ports_is_enough_for_ten_connections(
    network: Network, running: Proxy, port: int, family: str
) -> None:
    with visits(network, port, 10) as open_ones:
        peers = [visit.seen().peer for visit in open_ones]
        assert sorted(peers) == [(ALIAS[family], port) for port in RANGE]
        with Visit(network.client, (FRONT["4"], port)) as eleventh:
            assert eleventh.refused()
            ends = eleventh.ends
        record = record_of(running, ends, (FRONT["4"], port))
        assert record["ending"] == "RC"
        assert "exhausted" in record["reason"]
        running.wait_for_stderr("exhausted")
        gone = open_ones[3]
        gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()  # reset: a port that waits out TIME_WAIT is not free yet
        record_of(running, gone.ends, gone.to)
        assert seen_by(network.client, (FRONT["4"], port))[0].peer == peers[3], "the freed port"
        for visit in open_ones:
            with contextlib.suppress(OSError):
                visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_two_servers_have_a_range_each(network: Network, running: Proxy) -> None:
    with visits(network, 9003, 20) as open_ones:
        seen = [visit.seen() for visit in open_ones]
    for server in ("one", "two"):
        assert sorted(one.peer[1] for one in seen if one.server == server) == list(RANGE)


def test_the_kernels_ports_are_used_once_for_each_server(network: Network, running: Proxy) -> None:
    with visits(network, 9004, 100) as open_ones:
        seen = [visit.seen() for visit in open_ones]
        assert {one.peer[0] for one in seen} == {ALIAS["4"]}
        ports = {one.peer[1] for one in seen}
        assert ports <= set(FEW)
        assert len(ports) <= 64 < len(seen)


def test_connections_leave_by_the_interface_that_is_set(network: Network, running: Proxy) -> None:
    assert seen_by(network.client, (FRONT["4"], 9005))[0].server == "one", "the route's choice"
    assert seen_by(network.client, (FRONT["4"], 9006))[0].server == "two"


def test_a_bind_serves_only_the_interface_that_is_set(network: Network, running: Proxy) -> None:
    assert seen_by(network.client, (FRONT["4"], 9020))[0].server == "one"
    with pytest.raises(ConnectionRefusedError):
        Visit(network.one, (BACK["4"], 9020))
