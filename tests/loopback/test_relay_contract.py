"""What the relay promises, seen from outside, over every kind of transport on either side.

The proxy is a process of its own; clients and servers are plain blocking sockets of this one.
"""

import contextlib
import hashlib
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

TIMEOUT_S = 15
WINDOW = 64 * 1024
SIZES = (0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 1_000_000, 5_000_000)
MIB = 1 << 20
NOISE = random.Random(1).randbytes(MIB)

KINDS = {
    "streams": ("stream", "stream"),
    "nested": ("stream", "stream"),
    "nested to endpoint": ("stream", "endpoint"),
    "endpoint to nested": ("endpoint", "stream"),
    "endpoints": ("endpoint", "endpoint"),
    "stream to endpoint": ("stream", "endpoint"),
    "endpoint to stream": ("endpoint", "stream"),
    "unix": ("unix", "unix"),
    "abstract": ("abstract", "abstract"),
    "stream to unix": ("stream", "unix"),
    "unix to endpoint": ("unix", "endpoint"),
    "endpoint to unix": ("endpoint", "unix"),
    "watched streams": ("stream", "stream"),
    "watched endpoints": ("endpoint", "endpoint"),
}
"""What a link has towards the client and towards the server; ``nested``: on a reactor that is not ours; ``watched``: a
validator stays on the stream."""
TCP = [kind for kind, sides in KINDS.items() if not {"unix", "abstract"} & set(sides)]


def payload(size: int) -> bytes:
    """Bytes in which anything lost, doubled or moved shows."""
    return (NOISE * (size // MIB + 1))[:size]


def digest(data: bytes) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


class Sender(threading.Thread):
    """Sends ``data`` in the background and then, with ``fin``, an end of stream."""

    def __init__(self, sock: socket.socket, data: bytes, fin: bool = True) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.data = data
        self.fin = fin
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.sock.sendall(self.data)
            if self.fin:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = error

    def done(self) -> None:
        """Wait until all is sent."""
        self.join(TIMEOUT_S)
        assert not self.is_alive(), "the sender is stuck"
        assert self.error is None, self.error


def read_to_end(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(WINDOW):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"end of stream after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def at_once(sock: socket.socket) -> socket.socket:
    """Let it send small pieces without waiting."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send_for_ever(sock: socket.socket) -> None:
    """Send until an error says that nobody is there."""
    while True:
        sock.sendall(NOISE)


class Address:
    """Where one side listens; ``kind`` as in ``KINDS``."""

    def __init__(self, kind: str, name: Path, port: int) -> None:
        self.kind = kind
        self.sockaddr: Any = ("127.0.0.1", port)
        if kind == "unix":
            name.mkdir(exist_ok=True)
            self.sockaddr = str(name / f"{port}.sock")
        elif kind == "abstract":
            self.sockaddr = f"\0twisted-lb-test-{name.name}-{port}"
        self.family = socket.AF_UNIX if isinstance(self.sockaddr, str) else socket.AF_INET

    def as_bind(self) -> str:
        """Spell it for a frontend."""
        return f"tcp:{self.sockaddr[1]}:interface=127.0.0.1" if self.kind == "endpoint" else self._spell()

    def as_server(self) -> str:
        """Spell it for a backend."""
        return f"tcp:127.0.0.1:{self.sockaddr[1]}" if self.kind == "endpoint" else self._spell()

    def _spell(self) -> str:
        if self.family == socket.AF_UNIX:
            return f"unix:{self.sockaddr}".replace("\0", "@")
        return f"127.0.0.1:{self.sockaddr[1]}"


class Link:
    """A proxy between two kinds of transport, the server's listening socket, and the records of what has ended."""

    def __init__(self, kind: str, folder: Path, start: "StartProxy", free_port: "FreePort") -> None:
        client, server = (Address(side, folder, free_port()) for side in KINDS[kind])
        self._client, self._server = client, server
        self._dead = Address(KINDS[kind][0], folder / "dead", free_port())
        nobody = Address(KINDS[kind][1], folder / "nobody", free_port())
        self._taken = 0
        self._sockets: list[socket.socket] = []
        self.opened = 0
        self.listener = socket.socket(server.family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(server.sockaddr)
        self.listener.listen(64)
        self.listener.settimeout(TIMEOUT_S)
        config: dict[str, Any] = {
            "frontends": {
                "web": {"bind": client.as_bind(), "backend": "app"},
                "dead": {"bind": self._dead.as_bind(), "backend": "dead"},
            },
            "backends": {
                "app": {"servers": {"a": server.as_server()}},
                "dead": {"servers": {"none": nobody.as_server()}, "retries": 0},
            },
        }
        before: list[str] = []
        if "watched" in kind:
            config["plugins"] = ["lb_watcher"]
            config["frontends"]["web"]["validators"] = [
                {"use": "watcher", "server_first": True, "evil": "no such word"}
            ]
            before = ["env", f"PYTHONPATH={Path(__file__).parent}"]
        self.proxy: Proxy = start(config, reactor="poll" if "nested" in kind else None, before=before)

    def keep(self, sock: socket.socket) -> socket.socket:
        sock.settimeout(TIMEOUT_S)
        self._sockets.append(sock)
        return sock

    def dial(self, dead: bool = False, receive_bytes: int | None = None) -> socket.socket:
        """A client's connection; with ``dead`` to the frontend whose server does not exist."""
        address = self._dead if dead else self._client
        client = self.keep(socket.socket(address.family))
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(address.sockaddr)
        self.opened += 1
        return at_once(client)

    def accept(self) -> socket.socket:
        """The server's end of a connection."""
        return at_once(self.keep(self.listener.accept()[0]))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the server that it is connected to."""
        client = self.dial()
        return client, self.accept()

    def greet(self) -> tuple[socket.socket, socket.socket]:
        """As ``connect``, and the server's first byte has reached the client: the relay has surely begun.

        Before that, a client that ends without having said anything counts as one that has left.
        """
        client, server = self.connect()
        server.sendall(b"!")
        assert client.recv(1) == b"!"
        return client, server

    def ended(self) -> dict[str, Any]:
        """Wait until one more connection has ended; return its record."""
        self._taken += 1
        return self.proxy.records(self._taken)[self._taken - 1]

    def expect(self, ending: str, bytes_in: int | None = None, bytes_out: int | None = None) -> dict[str, Any]:
        """Check how one more connection has ended."""
        record = self.ended()
        assert record["ending"] == ending, record
        assert bytes_in is None or record["bytes_in"] == bytes_in, record
        assert bytes_out is None or record["bytes_out"] == bytes_out, record
        return record

    def clear(self) -> None:
        """Close what a test has left, and wait until the proxy knows."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self.listener.setblocking(False)
        try:
            while True:
                self.listener.accept()[0].close()
        except BlockingIOError:
            pass
        self.listener.settimeout(TIMEOUT_S)
        self._taken = len(self.proxy.records(self.opened))
        assert self._taken == self.opened, "there is exactly one record for each connection"


@pytest.fixture(scope="module")
def links(
    tmp_path_factory: pytest.TempPathFactory, module_proxy: "StartProxy", free_port: "FreePort"
) -> Iterator[Callable[[str], Link]]:
    """One link of each kind that is asked for."""
    made: dict[str, Link] = {}

    def of_kind(kind: str) -> Link:
        if kind not in made:
            made[kind] = Link(kind, tmp_path_factory.mktemp("link"), module_proxy, free_port)
        return made[kind]

    yield of_kind
    for link in made.values():
        link.listener.close()


@pytest.fixture(params=KINDS)
def link(request: pytest.FixtureRequest, links: Callable[[str], Link]) -> Iterator[Link]:
    """A link of any kind, with nothing open before and after."""
    yield (one := links(request.param))
    one.clear()


@pytest.fixture(params=TCP)
def tcp_link(request: pytest.FixtureRequest, links: Callable[[str], Link]) -> Iterator[Link]:
    """As ``link``, where there are resets: a Unix socket knows none."""
    yield (one := links(request.param))
    one.clear()


# Bytes


@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_as_they_were_sent_both_ways_at_once(link: Link, size: int) -> None:
    client, server = link.greet()
    up, down = payload(size), payload(size)[::-1]
    echoing = threading.Thread(target=lambda: received.append(read_to_end(server)), daemon=True)
    received: list[bytes] = []
    echoing.start()
    senders = [Sender(client, up), Sender(server, down)]
    assert digest(read_to_end(client)) == digest(down)
    echoing.join(TIMEOUT_S)
    assert [digest(data) for data in received] == [digest(up)]
    for sender in senders:
        sender.done()
    link.expect("--", size, size + 1)


@pytest.mark.parametrize("size", [1, WINDOW, WINDOW + 1, 300_000, 1_000_000])
def test_an_end_of_stream_right_behind_the_bytes_is_not_overlooked(link: Link, size: int) -> None:
    data = payload(size)
    for _ in range(8):
        client = link.dial()
        sender = Sender(client, data)
        server = link.accept()
        assert digest(read_to_end(server)) == digest(data)
        server.close()
        assert read_to_end(client) == b""
        sender.done()
        link.expect("--", size, 0)


@pytest.mark.parametrize("size", [1, WINDOW + 1, 1_000_000])
def test_a_server_that_answers_and_closes_at_once_is_heard_in_full(link: Link, size: int) -> None:
    data = payload(size)
    for _ in range(8):
        client, server = link.connect()
        sender = Sender(server, data)
        assert digest(read_to_end(client)) == digest(data)
        client.close()
        assert read_to_end(server) == b""
        sender.done()
        link.expect("--", 0, size)


def test_a_server_may_speak_first(link: Link) -> None:
    client, server = link.connect()
    server.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"
    client.sendall(b"QUIT\r\n")
    assert read_exactly(server, 6) == b"QUIT\r\n"
    server.close()
    assert read_to_end(client) == b""
    client.close()
    link.expect("--", 6, 11)


def test_a_trickle_arrives_byte_by_byte(link: Link) -> None:
    client, server = link.connect()
    for number in range(256):
        byte = bytes([number])
        client.sendall(byte)
        assert server.recv(10) == byte
        server.sendall(byte)
        assert client.recv(10) == byte
    client.close()
    server.close()
    link.expect("--", 256, 256)


def test_many_small_exchanges_on_many_connections(link: Link) -> None:
    pairs = [link.connect() for _ in range(20)]
    for turn in range(25):
        for number, (client, _) in enumerate(pairs):
            client.sendall(b"question %d %d\n" % (number, turn))
        for number, (_, server) in enumerate(pairs):
            expected = b"question %d %d\n" % (number, turn)
            assert read_exactly(server, len(expected)) == expected
            server.sendall(expected.upper())
        for number, (client, _) in enumerate(pairs):
            expected = b"QUESTION %d %d\n" % (number, turn)
            assert read_exactly(client, len(expected)) == expected
    for client, server in pairs:
        client.close()
        server.close()
        link.expect("--")


# Ends


def test_a_client_may_end_first_and_still_get_its_answer(link: Link) -> None:
    client, server = link.connect()
    client.sendall(b"all I have to say")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == b"all I have to say"
    answer = payload(500_000)
    sender = Sender(server, answer)
    assert digest(read_to_end(client)) == digest(answer)
    sender.done()
    link.expect("--", 17, 500_000)


def test_a_server_may_end_first_and_still_be_told_more(link: Link) -> None:
    client, server = link.connect()
    server.sendall(b"goodbye")
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == b"goodbye"
    rest = payload(500_000)
    sender = Sender(client, rest)
    assert digest(read_to_end(server)) == digest(rest)
    sender.done()
    link.expect("--", 500_000, 7)


def test_a_client_that_connects_and_leaves_harms_nobody(link: Link) -> None:
    for _ in range(5):
        link.dial().close()
        while len(link.proxy.records(0)) < link.opened:
            if select.select([link.listener], [], [], 0.05)[0]:
                server = link.accept()
                assert server.recv(1) == b""
                server.close()
        record = link.ended()
        # Either it was gone before the server's connection was open, or it ended as any other.
        assert record["ending"] in ("CC", "--"), record
        assert (record["bytes_in"], record["bytes_out"]) == (0, 0)
    client, server = link.connect()
    client.sendall(b"still there?")
    assert read_exactly(server, 12) == b"still there?"


def test_a_server_that_nobody_listens_for_ends_it_in_the_connect_stage(link: Link) -> None:
    client = link.dial(dead=True)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    record = link.expect("SC", 0, 0)
    assert record["stage"] == "connect"
    assert record["server"] == "none"


# Resets


@pytest.mark.parametrize("said", [b"", b"something"])
def test_a_reset_by_the_client_is_a_reset_for_the_server(tcp_link: Link, said: bytes) -> None:
    client, server = tcp_link.greet()
    client.sendall(said)
    assert read_exactly(server, len(said)) == said
    reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    tcp_link.expect("CD", len(said), 1)


@pytest.mark.parametrize("said", [b"", b"something"])
def test_a_reset_by_the_server_is_a_reset_for_the_client(tcp_link: Link, said: bytes) -> None:
    client, server = tcp_link.greet()
    server.sendall(said)
    assert read_exactly(client, len(said)) == said
    reset(server)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    tcp_link.expect("SD", 0, len(said) + 1)


def test_a_reset_by_a_client_that_had_ended_is_a_reset_for_the_server(tcp_link: Link) -> None:
    client, server = tcp_link.greet()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    reset(client)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_for_ever(server)
    tcp_link.expect("CD")


def test_a_reset_by_a_server_that_had_ended_is_a_reset_for_the_client(tcp_link: Link) -> None:
    client, server = tcp_link.greet()
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    reset(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_for_ever(client)
    tcp_link.expect("SD")


def test_a_client_that_resets_while_it_does_not_take_its_answer_resets_the_server(tcp_link: Link) -> None:
    client = tcp_link.dial(receive_bytes=4096)
    server = tcp_link.accept()
    fill(server, tcp_link.proxy)
    reset(client)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_for_ever(server)
    tcp_link.expect("CD")


def test_an_early_answer_reaches_a_client_that_still_sends(tcp_link: Link) -> None:
    """As an upload that a server refuses: it answers and closes with bytes unread, so that its kernel sends a RST."""
    for _ in range(5):
        client, server = tcp_link.connect()
        client.sendall(payload(10 * WINDOW))
        assert server.recv(10) == payload(10)
        server.sendall(b"413 too large")
        server.close()
        sender = Sender(client, payload(20 * MIB))
        assert read_exactly(client, 13) == b"413 too large"
        sender.join(TIMEOUT_S)
        assert not sender.is_alive(), "the sender was never told"
        assert sender.error is not None
        assert tcp_link.ended()["ending"] == "SD"


# Back-pressure


def fill(sock: socket.socket, proxy: "Proxy", quiet_s: float = 0.1) -> int:
    """Send ``payload`` round and round until nothing goes, and the proxy has been at rest for ``quiet_s``, which is
    longer than an acknowledgement may be put off; return how many bytes were taken.
    """
    taken, turns = 0, proxy.turns()
    sock.setblocking(False)
    while True:
        if not select.select([], [sock], [], quiet_s)[1]:
            before, turns = turns, proxy.turns()
            if turns is not None and before == turns:
                break
            continue
        start = taken % MIB
        try:
            taken += sock.send(memoryview(NOISE)[start:])
        except BlockingIOError:
            continue
        assert taken < 200 * MIB, "nothing stops the sender"
    sock.settimeout(TIMEOUT_S)
    return taken


def kernel_buffers() -> int:
    """The most that the four sockets between two ends may hold; those of Unix sockets are smaller than those of TCP."""
    most = [int(Path(f"/proc/sys/net/ipv4/tcp_{one}mem").read_text().split()[2]) for one in "rw"]
    return 2 * sum(most)


@pytest.mark.parametrize("upwards", [True, False], ids=["the server stalls", "the client stalls"])
def test_a_stalled_reader_stops_the_sender_and_loses_nothing(link: Link, upwards: bool) -> None:
    client, server = link.connect()
    source, sink = (client, server) if upwards else (server, client)
    before_kib = link.proxy.resident_kib()
    taken = fill(source, link.proxy)
    assert taken <= kernel_buffers() + MIB
    assert link.proxy.resident_kib() - before_kib < 3 * 1024
    source.shutdown(socket.SHUT_WR)
    assert digest(read_to_end(sink)) == digest(payload(taken))
    sink.close()
    assert read_to_end(source) == b""
    link.expect("--", *((taken, 0) if upwards else (0, taken)))


def test_a_stalled_direction_leaves_the_other_one_alone(link: Link) -> None:
    client, server = link.connect()
    taken = fill(client, link.proxy)
    for _ in range(100):
        server.sendall(b"status")
        assert read_exactly(client, 6) == b"status"
    client.shutdown(socket.SHUT_WR)
    assert digest(read_to_end(server)) == digest(payload(taken))
    server.close()
    link.expect("--", taken, 600)


def test_both_directions_may_stall_at_once(link: Link) -> None:
    client, server = link.connect()
    up, down = fill(client, link.proxy), fill(server, link.proxy)
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert digest(read_to_end(server)) == digest(payload(up))
    assert digest(read_to_end(client)) == digest(payload(down))
    link.expect("--", up, down)


def test_a_bulk_transfer_does_not_starve_small_messages(link: Link) -> None:
    bulk_client, bulk_server = link.connect()
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            bulk_server.sendall(NOISE)
        bulk_server.shutdown(socket.SHUT_WR)

    def receive() -> None:
        while bulk_client.recv(MIB):
            pass

    threads = [threading.Thread(target=one, daemon=True) for one in (send, receive)]
    for thread in threads:
        thread.start()
    client, server = link.connect()
    client.settimeout(2)
    server.settimeout(2)
    try:
        for _ in range(50):
            client.sendall(b"ping")
            assert read_exactly(server, 4) == b"ping"
            server.sendall(b"pong")
            assert read_exactly(client, 4) == b"pong"
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    assert not any(thread.is_alive() for thread in threads)


# What is left behind


def test_nothing_is_left_open_afterwards(link: Link) -> None:
    before = link.proxy.descriptors()
    for number in range(30):
        client, server = link.connect()
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        if number % 3 == 0 and client.family == socket.AF_INET:
            reset(client)
        elif number % 3 == 1:
            server.close()
        client.close()
        server.close()
    for _ in range(30):
        link.ended()
    assert link.proxy.descriptors() <= before
