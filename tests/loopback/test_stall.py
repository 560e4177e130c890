"""What a reader that stalls costs the proxy: one bounded buffer, whatever the sender does."""

import hashlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.loopback.traffic import MIB, NOISE, config_of, listen
from twisted_lb.net.poll import ASIDE_BUDGET, WINDOWS

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

TIMEOUT_S = 30
TRANSFER = 25 * len(NOISE)
"""Bytes of the one long transfer: 200 MiB."""
STALL_S = 0.5
READERS = 200
OFFERED = 5 * MIB
"""Bytes for each of those, which read nothing: more than the kernel takes, and not more, as its memory has an end."""
KIB = 1024
WASTE = 1.05
"""What the allocator may take beyond what it is asked for."""

pytestmark = pytest.mark.linux


@cache
def noise_digest(size: int) -> str:
    """Hash the first ``size`` bytes of the noise when it is sent round and round."""
    rounds, rest = divmod(size, len(NOISE))
    total = hashlib.sha256()
    for _ in range(rounds):
        total.update(NOISE)
    total.update(NOISE[:rest])
    return total.hexdigest()


def send_noise(sock: socket.socket, rounds: int) -> None:
    for _ in range(rounds):
        sock.sendall(NOISE)
    sock.shutdown(socket.SHUT_WR)


class Peak:
    """The most that ``proxy`` had resident while the ``with`` block ran, beyond what it had before, in KiB."""

    def __init__(self, proxy: "Proxy") -> None:
        self.grown_kib = 0
        self._proxy = proxy
        self._before_kib = proxy.resident_kib()
        self._stop = threading.Event()
        self._sampling = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._stop.wait(0.002):
            self._look()

    def _look(self) -> None:
        self.grown_kib = max(self.grown_kib, self._proxy.resident_kib() - self._before_kib)

    def __enter__(self) -> "Peak":
        self._sampling.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sampling.join()
        self._look()


@contextmanager
def linked(kind: str, start: "StartProxy", free_port: "FreePort") -> Iterator[tuple["Proxy", int, socket.socket]]:
    """Start a proxy; give it, the port of its frontend, and the listening socket of its server."""
    port, server_port = free_port(), free_port()
    running = start(config_of({kind: port}, server_port))
    with listen(server_port) as listener:
        listener.settimeout(TIMEOUT_S)
        yield running, port, listener


@pytest.mark.parametrize("upwards", [True, False], ids=["upload", "download"])
@pytest.mark.parametrize("kind", ["streams", "endpoints"])
def test_a_long_transfer_to_a_reader_that_stalls_costs_less_than_5_mb(
    kind: str, upwards: bool, proxy: "StartProxy", free_port: "FreePort"
) -> None:
    with (
        linked(kind, proxy, free_port) as (running, port, listener),
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client,
        listener.accept()[0] as server,
    ):
        server.settimeout(TIMEOUT_S)
        source, sink = (client, server) if upwards else (server, client)
        sending = threading.Thread(target=send_noise, args=(source, TRANSFER // len(NOISE)), daemon=True)
        received, arrived = 0, hashlib.sha256()
        with Peak(running) as peak:
            sending.start()
            while data := sink.recv(MIB):
                # In the middle of it, when every buffer has grown as large as it gets.
                if received < TRANSFER // 3 <= received + len(data):
                    time.sleep(STALL_S)
                received += len(data)
                arrived.update(data)
        sending.join(TIMEOUT_S)
        assert (received, arrived.hexdigest()) == (TRANSFER, noise_digest(TRANSFER))
    print(f"{kind}: resident memory grew by {peak.grown_kib} KiB")
    assert peak.grown_kib < 5_000_000 // KIB


def fill(servers: list[socket.socket]) -> list[int]:
    """Send the noise on each socket, until all is sent or nothing has gone for half a second; say how much went."""
    sent = dict.fromkeys(servers, 0)
    with selectors.DefaultSelector() as selector:
        for server in servers:
            server.setblocking(False)
            selector.register(server, selectors.EVENT_WRITE, server)
        while selector.get_map() and (ready := selector.select(0.5)):
            for key, _ in ready:
                sock: socket.socket = key.data
                sent[sock] += sock.send(memoryview(NOISE)[sent[sock] : min(sent[sock] + MIB, OFFERED)])
                if sent[sock] == OFFERED:
                    selector.unregister(sock)
    return list(sent.values())


def read_to_end(sock: socket.socket) -> tuple[int, str]:
    received, arrived = 0, hashlib.sha256()
    while data := sock.recv(MIB):
        received += len(data)
        arrived.update(data)
    return received, arrived.hexdigest()


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        # What net/poll.py says: the budget, one window that ran beyond it, and the smallest one for every connection.
        pytest.param("streams", ASIDE_BUDGET + WINDOWS[-1] + READERS * WINDOWS[0], id="streams"),
        # What Twisted reads at once on top of what makes it pause: each 64 KiB, and twice while they are joined.
        pytest.param("endpoints", READERS * 4 * 64 * KIB, id="endpoints"),
    ],
)
def test_many_readers_that_stall_together_cost_a_bounded_buffer_each(
    kind: str, bound: int, proxy: "StartProxy", free_port: "FreePort"
) -> None:
    with ExitStack() as stack:
        port, server_port = free_port(), free_port()
        config = config_of({kind: port}, server_port)
        inherited = []
        if kind == "streams":
            # With as much room as this the kernel takes larger and larger windows, and then half of the largest one.
            way_in = stack.enter_context(listen(port))
            way_in.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 550 * KIB)
            config["frontends"][kind]["bind"] = f"fd:{way_in.fileno()}"
            inherited.append(way_in.fileno())
        running = proxy(config, pass_fds=inherited)
        listener = stack.enter_context(listen(server_port))
        clients, servers = [], []
        for _ in range(READERS):
            client = stack.enter_context(socket.socket())
            client.settimeout(TIMEOUT_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
            client.connect(("127.0.0.1", port))
            clients.append(client)
            servers.append(stack.enter_context(listener.accept()[0]))
        with Peak(running) as peak:
            sent = fill(servers)
        print(f"{kind}: resident memory grew by {peak.grown_kib / READERS:.0f} KiB for each of {READERS}")
        print(f"{sum(sent) / READERS / KIB:.0f} KiB were taken from each sender")
        for client, server, size in zip(clients, servers, sent, strict=True):
            server.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == (size, noise_digest(size))
    assert peak.grown_kib * KIB < bound * WASTE
