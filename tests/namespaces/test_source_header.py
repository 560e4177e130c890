"""``source = "header:NAME"``: servers see the address that a proxy before us names, and never, silently, ours."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.loopback.conftest import Proxy, wait_until
from tests.loopback.servers import ANSWER_S
from tests.namespaces.netns import Namespace
from tests.namespaces.records import destination
from tests.namespaces.topology import CLIENT, CROWD, FAMILIES, FOREIGN, FRONT, ONE, Network, family_of, net
from tests.namespaces.witness import Ends, Visit

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

OTHER = {"4": "6", "6": "4"}
SAME, MISMATCHED, CHECKED, GUARDED = 9400, 9401, 9402, 9403
HTTP, CHECKED_HTTP = 8400, 8401
NAME = "X-Forwarded-For"


class HttpWitness:
    """An HTTP server inside a namespace that tells each client whom it takes it for. ``peers``: of all connections."""

    def __init__(self, namespace: Namespace, *ends: Ends) -> None:
        self.peers: list[tuple[int, str]] = []
        self._listening = [_listening(namespace, end) for end in ends]
        self._threads = [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._listening]
        for thread in self._threads:
            thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, peer = listening.accept()
                self.peers.append((listening.getsockname()[1], peer[0]))
                threading.Thread(target=self._serve, args=(client, peer), daemon=True).start()

    def _serve(self, client: socket.socket, peer: Any) -> None:
        body = json.dumps(peer[:2]).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        with client, contextlib.suppress(OSError), client.makefile("rb") as received:
            while line := received.readline():
                if line == b"\r\n":
                    client.sendall(answer)

    def came_to(self, port: int) -> list[str]:
        """Return who has connected to ``port``."""
        return [host for to, host in self.peers if to == port]

    def close(self) -> None:
        """Listen no more."""
        for one in self._listening:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(ANSWER_S)


def _listening(namespace: Namespace, end: Ends) -> socket.socket:
    with namespace.entered():
        made = socket.socket(family_of(end[0]))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(end)
    made.listen(1024)
    return made


class Browsing(Visit):
    """A connection of requests; its client is whoever is in their header."""

    def get(self, *values: str) -> tuple[int, Any]:
        """Ask, with a field for each of ``values``. Returns: the status, and whom the server saw, if one did."""
        lines = "".join(f"{NAME}: {value}\r\n" for value in values)
        self.socket.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        status = int(self._line().split()[1])
        fields = dict(line.decode().lower().rstrip().split(": ", 1) for line in iter(self._line, b"\r\n"))
        body = self._received.read(int(fields["content-length"]))
        return status, json.loads(body) if status == 200 else None


def config() -> dict[str, Any]:
    made: dict[str, Any] = {"frontends": {}, "backends": {}}

    def add(port: int, family: str, to: str, at: int = HTTP, **backend: Any) -> None:
        name = f"f{port}-{family}"
        made["frontends"][name] = {
            "bind": f"{net(FRONT[family])}:{port}",
            "mode": "http",
            "backend": name,
            "forwarded": {"except": [CLIENT[family]]},
        }
        source = f"header:{NAME}"
        made["backends"][name] = {"source": source, "servers": {"s": f"{net(ONE[to])}:{at}"}, **backend}

    for family in FAMILIES:
        add(SAME, family, family, pool={"max": 1000})
        add(MISMATCHED, family, OTHER[family])
        add(GUARDED, family, family)
    add(CHECKED, "4", "4", CHECKED_HTTP, check={"interval": "50ms"})
    return made


@pytest.fixture(scope="module")
def server(network: Network) -> Iterator[HttpWitness]:
    """A server in ``one``."""
    made = HttpWitness(network.one, *((host, port) for host in ("0.0.0.0", "::") for port in (HTTP, CHECKED_HTTP)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(network: Network, server: HttpWitness, module_proxy: Any) -> Proxy:
    """A proxy that believes the client, and nobody else."""
    network.take_answers()
    started: Proxy = module_proxy(config(), before=network.proxy.prefix)
    return started


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_sees_the_last_address_of_the_last_field(network: Network, running: Proxy, family: str) -> None:
    with Browsing(network.client, (FRONT[family], SAME)) as proxy:
        status, seen = proxy.get("192.0.2.1", f"192.0.2.2, {FOREIGN[family]}")
        assert (status, seen[0]) == (200, FOREIGN[family])
        status, seen = proxy.get(f"{net(FOREIGN[family])}:4321")
        assert (status, seen[0]) == (200, FOREIGN[family])
    assert running.records(1)


def test_two_hundred_clients_behind_four_connections_are_two_hundred_peers(
    network: Network, running: Proxy, server: HttpWitness
) -> None:
    before = len(server.came_to(HTTP))
    hosts = [f"198.18.0.{number}" for number in range(1, 201)]

    def browse(_: int) -> list[tuple[int, str]]:
        with Browsing(network.client, (FRONT["4"], SAME)) as proxy:
            answers = [proxy.get(host) for host in hosts * 2]
        return [(status, seen[0]) for status, seen in answers]

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(browse, range(4)):
            assert answers == [(200, host) for host in hosts * 2], "a connection was used for another client"
    came = server.came_to(HTTP)[before:]
    assert set(came) == set(hosts)
    assert len(came) <= 4 * len(hosts), "connections of one address are used again"


REFUSED = {
    "missing": ((), "the request has no X-Forwarded-For"),
    "no-address": (("192.0.2.1, unknown",), "'unknown', is no IP address"),
    "any": (("0.0.0.0",), "0.0.0.0, is nobody's"),
    "broadcast": (("10.2.0.255",), "10.2.0.255 is nobody's, but a network's broadcast address"),
    "multicast": (("224.0.0.1",), "224.0.0.1, is nobody's"),
}


def refused(running: Proxy, server: HttpWitness, browsing: Browsing, values: tuple[str, ...]) -> dict[str, Any]:
    """Ask twice on one connection, and get no further; the second record."""
    before, ends = len(server.came_to(HTTP)), browsing.ends
    assert [browsing.get(*values), browsing.get(*values)] == [(503, None)] * 2
    found: list[dict[str, Any]] = []

    def written() -> bool:
        mine = [one for one in running.records(1) if (one["peer"], one["peer_port"]) == ends]
        found[:] = [one for one in mine if destination(one) == browsing.to]
        return len(found) == 2

    wait_until(written, "two records")
    assert [one["ending"] for one in found] == ["RC", "RC"]
    assert len(server.came_to(HTTP)) == before, "the server was reached, from whatever address"
    return found[1]


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_without_an_address_that_can_be_had_is_refused_and_logged(
    network: Network, running: Proxy, server: HttpWitness, case: str
) -> None:
    values, reason = REFUSED[case]
    with Browsing(network.client, (FRONT["4"], SAME)) as browsing:
        assert reason in refused(running, server, browsing, values)["reason"]
    running.wait_for_stderr(reason)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_of_the_other_family_is_refused_and_logged(
    network: Network, running: Proxy, server: HttpWitness, family: str
) -> None:
    with Browsing(network.client, (FRONT[family], MISMATCHED)) as browsing:
        record = refused(running, server, browsing, (FOREIGN[family],))
    assert "IPv4" in record["reason"]
    assert "IPv6" in record["reason"]
    running.wait_for_stderr(f"server f{MISMATCHED}-{family}/s: ")


def test_an_address_that_cannot_be_bound_to_is_refused_and_logged(
    network: Network, running: Proxy, server: HttpWitness
) -> None:
    """One of a single link means nothing without the link."""
    with Browsing(network.client, (FRONT["6"], SAME)) as browsing:
        assert "cannot bind to [fe80::1]" in refused(running, server, browsing, ("fe80::1",))["reason"]
    running.wait_for_stderr("cannot bind to [fe80::1]")


def test_what_a_client_writes_does_not_count(network: Network, running: Proxy, server: HttpWitness) -> None:
    with Browsing(network.client, (FRONT["4"], GUARDED)) as believed:
        assert believed.get(FOREIGN["4"])[0] == 200, "there is a connection of that address that waits"
    with Browsing(network.client, (FRONT["4"], GUARDED), f"{CROWD}7") as browsing:
        record = refused(running, server, browsing, (FOREIGN["4"],))
    assert f"of {CROWD}7 does not count" in record["reason"]
    running.wait_for_stderr(f"of {CROWD}7 does not count")


def test_health_checks_come_from_the_proxy_itself(network: Network, running: Proxy, server: HttpWitness) -> None:
    wait_until(lambda: len(server.came_to(CHECKED_HTTP)) >= 3, "health checks")
    with Browsing(network.client, (FRONT["4"], CHECKED)) as browsing:
        assert browsing.get(FOREIGN["4"])[1][0] == FOREIGN["4"]
    assert set(server.came_to(CHECKED_HTTP)) == {"10.2.0.1", FOREIGN["4"]}
