"""``how = "drop"``: no FIN and no RST goes over the wire; without the capability a RST that no router passes on."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import loopback
from tests.loopback.conftest import Proxy
from tests.namespaces.netns import Namespace
from tests.namespaces.packets import watching
from tests.namespaces.records import record_of
from tests.namespaces.topology import FAMILIES, FRONT, ONE, Network, net
from tests.namespaces.witness import Visit

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("setpriv")]

WITH_PLUGINS = ("env", f"PYTHONPATH={Path(loopback.__path__[0])}")
FIN, RST = 0x01, 0x04
PORTS = {
    "admission": 9100,
    "policy": 9110,
    "validation": 9120,
    "relay": 9130,
    "http_admission": 9140,
    "http_policy": 9150,
}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Packet(NamedTuple):
    """A packet of TCP. ``hops``: how many it may still go."""

    port: int
    flags: int
    hops: int


def heard(wire: Any) -> Iterator[Packet]:
    """Yield the packets that have come by now."""
    wire.socket.setblocking(False)
    while True:
        try:
            packet = wire.socket.recv(65536)
        except BlockingIOError:
            return
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            tcp, hops = packet[(packet[0] & 15) * 4 :], packet[8]
        elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
            tcp, hops = packet[40:], packet[7]
        else:
            continue
        yield Packet(int.from_bytes(tcp[:2]), tcp[13], hops)


def config(further: int = 0) -> dict[str, Any]:
    drops = {"use": "refuser", "how": "drop"}
    frontends: dict[str, Any] = {}
    for name, port in PORTS.items():
        mode, _, stage = name.rpartition("_")
        settings: dict[str, Any] = {"mode": mode or "tcp", "backend": "app"}
        if stage in ("admission", "policy"):
            settings["policies"] = [{**drops, "stage": stage}]
        else:
            settings["validators"] = [{"use": "watcher", "begins": "x" if stage == "validation" else "", "how": "drop"}]
        for number, family in enumerate(FAMILIES):
            stream = port + further + 2 * number
            endpoint = stream + 1
            host = FRONT[family]
            spelt = host.replace(":", r"\:")
            frontends[f"{name}_{family}"] = {**settings, "bind": f"{net(host)}:{stream}"}
            frontends[f"{name}_{family}_endpoint"] = {**settings, "bind": f"tcp:{endpoint}:interface={spelt}"}
    backends = {"app": {"servers": {"s": f"{ONE['4']}:80"}}}
    return {"plugins": ["lb_watcher"], "frontends": frontends, "backends": backends}


@pytest.fixture(scope="module")
def running(module_proxy: Any, network: Network, servers: Any) -> Proxy:
    started: Proxy = module_proxy(config(), before=[*network.proxy.prefix, *WITH_PLUGINS])
    return started


def refused(client: Namespace, running: Proxy, to: tuple[str, int], say: bytes) -> list[Packet]:
    """Connect, speak, be refused; return the packets of the end of the connection."""
    with watching(client, "proxy") as wire, Visit(client, to) as visit:
        if say:
            visit.socket.sendall(say)
        assert record_of(running, visit.ends)["ending"] in ("PR", "PD")
        return [one for one in heard(wire) if one.port == to[1] and one.flags & (FIN | RST)]


@pytest.mark.parametrize("endpoint", [False, True], ids=["stream", "endpoint"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stage", PORTS)
def test_nothing_tells_the_client(network: Network, running: Proxy, stage: str, family: str, endpoint: bool) -> None:
    to = FRONT[family], PORTS[stage] + 2 * FAMILIES.index(family) + endpoint
    say = {"validation": b"hello", "relay": b"evil", "http_policy": GET}.get(stage, b"")
    assert refused(network.client, running, to, say) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_capability_a_reset_goes_no_further_than_the_next_router(
    proxy: Any, network: Network, servers: Any, family: str
) -> None:
    without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"]
    running = proxy(config(500), before=[*network.proxy.prefix, *without, *WITH_PLUGINS])
    to = FRONT[family], 500 + PORTS["policy"] + 2 * FAMILIES.index(family)
    packets = refused(network.client, running, to, b"")
    assert [(one.flags & RST, one.hops) for one in packets] == [(RST, 1)]
