"""Limits of bandwidth as clients and servers see them, in both modes and over every kind of transport.

All times are those of transfers, and windows are generous: the lower bound is what a limit promises. Each kind of
transport has frontends of its own, so that what is measured of all kinds is measured at the same time.
"""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from tests.loopback.servers import Server

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy, Wait

TIMEOUT_S = 30
SIZE = 3_000_000
RATE = 2_000_000
LEAST_S, MOST_S = 1.2, 3.0
"""How long ``SIZE`` at ``RATE`` takes, but for the burst, and for a machine that is busy with other things."""
NOISE = random.Random(2).randbytes(SIZE)

KINDS = {
    "tcp": ("tcp", "stream", "stream"),
    "tcp endpoints": ("tcp", "endpoint", "endpoint"),
    "tcp to endpoint": ("tcp", "stream", "endpoint"),
    "http": ("http", "stream", "stream"),
    "http endpoints": ("http", "endpoint", "endpoint"),
    "http held": ("http", "stream", "stream"),
}
"""The mode, and what there is towards the client and towards the server."""
T = TypeVar("T")
Ask = Callable[..., http.client.HTTPConnection]
Policy = dict[str, Any]
POLICIES: dict[str, Policy] = {
    "own": {"in": f"{RATE}B", "out": f"{RATE}B"},
    "shared": {"in": f"{RATE}B", "out": f"{RATE}B", "per": "source"},
    "slow": {"in": "20000B", "out": "20000B"},
    "slowest": {"in": "900B", "out": "900B"},
}
IDLE = {"client": "1s", "server": "1s", "client_fin": "1s", "server_fin": "1s", "tunnel": "1s", "http_request": "1s"}


def serve(sock: socket.socket) -> None:
    """Answer requests: ``GET /SIZE`` with so many bytes, ``POST`` with how many came, ``GET /tunnel`` by repeating."""
    sock.settimeout(TIMEOUT_S)
    stream = sock.makefile("rb")
    while line := stream.readline():
        method, path, _ = line.split()
        length = 0
        while field := stream.readline().strip():
            name, _, value = field.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if path == b"/tunnel":
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := stream.read1(65536):
                sock.sendall(data)
            return
        body = stream.read(length) if method == b"POST" else NOISE[: int(path[1:])]
        if method == b"POST":
            body = b"%d %d" % (len(body), body == NOISE[: len(body)])
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Site(NamedTuple):
    """A proxy with a frontend for each kind of transport and each policy; ``ports`` by both, and ``free`` ones."""

    proxy: "Proxy"
    ports: dict[tuple[str, str], int]

    def ask(self, kind: str, policy: str = "own") -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.ports[kind, policy], timeout=TIMEOUT_S)

    def dial(self, kind: str, policy: str = "own") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[kind, policy]), timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def site(module_proxy: "StartProxy", free_port: "FreePort") -> Iterator[Site]:
    """A proxy, and the server behind it."""
    server = Server(serve)
    ports = {(kind, policy): free_port() for kind in KINDS for policy in (*POLICIES, "free")}
    frontends: dict[str, Any] = {}
    for (kind, policy), port in ports.items():
        mode, near, far = KINDS[kind]
        frontend: dict[str, Any] = {
            "mode": mode,
            "bind": f"127.0.0.1:{port}" if near == "stream" else f"tcp:{port}:interface=127.0.0.1",
            "backend": far,
        }
        if policy != "free":
            frontend["policies"] = [{"use": "bandwidth", **POLICIES[policy]}]
        if policy.startswith("slow"):
            known = ("client", "client_fin", "http_request") if mode == "http" else ("client", "client_fin")
            frontend["timeouts"] = {name: IDLE[name] for name in known}
            frontend["backend"] = f"slow_{far}"
        if kind == "http held":
            frontend["buffer_request"] = {"memory": "4MiB", "max": "4MiB"}
        frontends[f"{kind} {policy}".replace(" ", "_")] = frontend
    addresses = {"stream": f"127.0.0.1:{server.port}", "endpoint": f"tcp:127.0.0.1:{server.port}"}
    backends: dict[str, Any] = {name: {"servers": {"a": address}} for name, address in addresses.items()}
    for name in addresses:
        timeouts = {name: IDLE[name] for name in ("server", "server_fin", "tunnel")}
        backends[f"slow_{name}"] = {**backends[name], "timeouts": timeouts}
    yield Site(module_proxy({"frontends": frontends, "backends": backends}), ports)
    server.close()


def get(connection: http.client.HTTPConnection, size: int = SIZE) -> float:
    """Have ``size`` bytes sent; returns how long they took."""
    began = time.monotonic()
    connection.request("GET", f"/{size}")
    assert connection.getresponse().read() == NOISE[:size]
    return time.monotonic() - began


def post(connection: http.client.HTTPConnection, size: int = SIZE) -> float:
    """Send ``size`` bytes; returns how long they took."""
    began = time.monotonic()
    connection.request("POST", "/", NOISE[:size])
    assert connection.getresponse().read() == b"%d 1" % size
    return time.monotonic() - began


def at_once(calls: Mapping[Any, Callable[[], T]]) -> dict[Any, T]:
    """Make all calls at the same time; returns what each answers, by its name."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return dict(zip(calls, pool.map(lambda call: call(), calls.values()), strict=True))


def within(took: Mapping[Any, float], most_s: float = MOST_S) -> None:
    """Check that everything took as long as its rate says, and no longer."""
    assert all(LEAST_S <= seconds <= most_s for seconds in took.values()), took


@pytest.fixture
def ask(site: Site) -> Iterator[Callable[..., http.client.HTTPConnection]]:
    """``site.ask``, for connections that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *of: stack.enter_context(contextlib.closing(site.ask(*of)))


def test_a_transfer_takes_as_long_as_its_rate_says_in_either_direction(ask: Ask) -> None:
    within(at_once({(kind, way): partial(way, ask(kind)) for kind in KINDS for way in (get, post)}))


@pytest.mark.parametrize("way", [get, post])
def test_two_that_share_a_key_get_about_half_each(
    ask: Ask, way: Callable[[http.client.HTTPConnection, int], float]
) -> None:
    kinds = ("tcp", "tcp endpoints", "http", "http endpoints")
    pairs = {(kind, number): partial(way, ask(kind, "shared"), SIZE // 2) for kind in kinds for number in range(2)}
    took = at_once(pairs)
    for kind in kinds:
        fast, slow = sorted(took[kind, number] for number in range(2))
        assert LEAST_S <= slow <= MOST_S, took
        assert fast > 0.7 * slow, took


def test_neighbours_without_a_limit_are_as_fast_as_ever(site: Site) -> None:
    done = threading.Event()

    def throttled() -> float:
        connection = site.ask("tcp")
        took = get(connection)
        done.set()
        connection.close()
        return took

    def free() -> float:
        moved = 0
        connections = [site.ask("tcp", "free"), site.ask("http", "free")]
        while not done.is_set():
            for connection in connections:
                get(connection)
                moved += SIZE
        for connection in connections:
            connection.close()
        return moved

    of = at_once({"throttled": throttled, "free": free})
    assert LEAST_S <= of["throttled"] <= MOST_S
    assert of["free"] > 10 * SIZE, "at the very least ten times as much, in the same time"


def test_many_small_answers_on_one_connection_count_together(ask: Ask) -> None:
    def small(connection: http.client.HTTPConnection) -> float:
        return sum(get(connection, SIZE // 75) for _ in range(75))

    within(at_once({kind: partial(small, ask(kind)) for kind in ("http", "http endpoints")}), 2 * MOST_S)


def test_an_end_of_stream_comes_behind_what_was_held_up(site: Site) -> None:
    def send_and_end(kind: str) -> float:
        with site.dial(kind) as client:
            began = time.monotonic()
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % SIZE + NOISE)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.endswith(b"%d 1" % SIZE)
            return time.monotonic() - began

    within(at_once({kind: partial(send_and_end, kind) for kind in ("tcp", "tcp endpoints")}))


def descriptors_at_rest(site: Site, *kinds: str) -> int:
    """How many descriptors the proxy has when nothing is under way, and it has opened what it keeps open."""
    for kind in kinds:
        connection = site.ask(kind, "free")
        get(connection, 10)
        connection.close()
    counts = [0, 1]
    while len(set(counts[-5:])) > 1:
        time.sleep(0.05)
        counts.append(site.proxy.descriptors())
    return counts[-1]


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_reset_is_heard_while_a_transfer_is_held_up(site: Site, kind: str, wait: "Wait") -> None:
    before = descriptors_at_rest(site, kind)
    with site.dial(kind, "slow") as client:  # which would take minutes
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % SIZE)
        assert client.recv(1024)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait(lambda: site.proxy.descriptors() <= before, "it still holds a connection of one that is gone")


def test_a_reader_that_is_slow_by_turns_gets_everything_and_no_more_than_the_rate(site: Site) -> None:
    def read_by_turns(kind: str) -> float:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(TIMEOUT_S)
        client.connect(("127.0.0.1", site.ports[kind, "own"]))
        with client:
            began = time.monotonic()
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % SIZE)
            got = bytearray()
            while len(got) < SIZE + len(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"):
                piece = client.recv(65536)
                assert piece
                got += piece
                if len(got) % 5 == 0 and len(got) < SIZE // 4:
                    time.sleep(0.01)
            assert got.endswith(NOISE)
            return time.monotonic() - began

    kinds = ("tcp", "tcp endpoints", "http", "http endpoints")
    within(at_once({kind: partial(read_by_turns, kind) for kind in kinds}), TIMEOUT_S)


def test_a_tunnel_keeps_to_the_rate(site: Site) -> None:
    def through(kind: str) -> float:
        with site.dial(kind) as client:
            client.sendall(b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1)
            assert head.startswith(b"HTTP/1.1 101")
            began = time.monotonic()
            sender = threading.Thread(target=client.sendall, args=(NOISE,), daemon=True)
            sender.start()
            got = bytearray()
            while len(got) < SIZE:
                piece = client.recv(65536)
                assert piece
                got += piece
            assert bytes(got) == NOISE
            sender.join(TIMEOUT_S)
            return time.monotonic() - began

    within(at_once({kind: partial(through, kind) for kind in ("http", "http endpoints")}))


def test_who_waits_for_tokens_for_longer_than_a_side_may_be_idle_is_not_idle(ask: Ask) -> None:
    """A second is what a side may be idle for. Streams wait as long for a turn, others until what they read is paid."""
    slow = [("tcp", "slowest", 7_000)]
    slow += [(kind, "slow", 100_000) for kind in ("tcp endpoints", "http", "http endpoints", "http held")]
    ways = {(kind, way): partial(way, ask(kind, policy), size) for kind, policy, size in slow for way in (get, post)}
    within(at_once(ways), TIMEOUT_S)


def test_who_leaves_while_it_waits_leaves_nothing_open(site: Site) -> None:
    before = descriptors_at_rest(site, *KINDS)
    those = [site.dial(kind) for kind in KINDS for _ in range(5)]
    for client in those:
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % SIZE)
    for client in those:
        client.recv(100)
    for client in those:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
    deadline = time.monotonic() + TIMEOUT_S
    while site.proxy.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert site.proxy.descriptors() <= before
