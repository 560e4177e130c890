"""Streams as Twisted transports.

The first part is a contract that three kinds of transport keep: streams of ours, Twisted's own TCP, and the transports
in memory of the test kit, so that they cannot drift apart. The second part is about streams alone.
"""

import errno
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    ITCPTransport,
)
from zope.interface.verify import verifyObject

from tests.net.kinds import (
    BULK,
    HalfNotes,
    Kind,
    Notes,
    Streams,
    Tcp,
    TwistedTcp,
    Waiter,
    nonblocking,
)
from twisted_lb.net.poll import EPOLLIN, EPOLLOUT
from twisted_lb.net.stream import READ_SIZE, Stream
from twisted_lb.testing import MemoryNetwork, MemoryTransport

if TYPE_CHECKING:
    from tests.conftest import Loop


# What any transport of ours must do


def test_it_declares_what_it_is(kind: Kind) -> None:
    transport, _ = kind.connect(HalfNotes(), HalfNotes())
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert interface.providedBy(transport)
        if not isinstance(kind, TwistedTcp):
            verifyObject(interface, transport)


def test_nothing_is_delivered_while_it_is_paused(kind: Kind) -> None:
    left, reader = kind.connect(HalfNotes(), right := HalfNotes())
    reader.pauseProducing()
    left.write(b"later")
    kind.settle()
    assert right.events == []
    reader.resumeProducing()
    kind.settle()
    assert right.data == b"later"


def test_pausing_within_a_delivery_stops_the_next_one(kind: Kind) -> None:
    right = HalfNotes(lambda event: right.transport.pauseProducing())
    left, reader = kind.connect(HalfNotes(), right)
    left.write(BULK[: 10 * READ_SIZE])
    kind.settle()
    assert right.events == ["data"]
    for _ in range(1000):
        if len(right.data) == 10 * READ_SIZE:
            break
        reader.resumeProducing()
        kind.settle()
    assert right.data == BULK[: 10 * READ_SIZE]


def test_half_close_ends_one_direction_only(kind: Kind) -> None:
    left, answering = kind.connect(near := HalfNotes(), right := HalfNotes())
    left.write(b"question")
    left.loseWriteConnection()
    kind.settle()
    assert (right.data, right.events) == (b"question", ["data", "read closed"])
    assert near.events == ["write closed"]
    answering.write(b"answer")
    kind.settle()
    assert near.data == b"answer"
    answering.loseWriteConnection()
    kind.settle()
    assert "read closed" in near.events
    assert "write closed" in right.events
    left.loseConnection()
    answering.loseConnection()
    kind.settle()
    for protocol in (near, right):
        assert protocol.events[-1] == "lost"
        assert protocol.reason is not None
        assert protocol.reason.check(ConnectionDone)


def test_a_protocol_that_knows_no_half_close_loses_the_connection_at_the_end_of_stream(kind: Kind) -> None:
    left, _ = kind.connect(near := HalfNotes(), right := Notes())
    left.write(b"bye")
    left.loseWriteConnection()
    kind.settle()
    assert (right.data, right.events) == (b"bye", ["data", "lost"])
    assert near.events[:2] == ["write closed", "read closed"]


def test_an_end_of_stream_behind_bytes_that_were_paused_is_seen(kind: Kind) -> None:
    """Seen: 64 KiB and a bit, then the end, and a reader that paused in between never heard of the end."""

    def pause_once(event: str) -> None:
        if right.events == ["data"]:
            right.transport.pauseProducing()

    left, reader = kind.connect(HalfNotes(), right := HalfNotes(pause_once))
    reader.pauseProducing()
    left.write(BULK[: READ_SIZE + 1])
    left.loseWriteConnection()
    kind.settle()
    for _ in range(2):
        reader.resumeProducing()
        kind.settle()
    assert len(right.data) == READ_SIZE + 1
    assert "read closed" in right.events


def test_the_loss_is_never_told_from_within_the_call_that_asks_for_it(kind: Kind) -> None:
    left, right = kind.connect(near := HalfNotes(), far := HalfNotes())
    left.loseConnection()
    right.abortConnection()
    assert (near.events, far.events) == ([], [])
    kind.settle()
    assert near.events[-1] == far.events[-1] == "lost"


def test_an_abort_is_a_reset_for_the_other_side(kind: Kind) -> None:
    left, _ = kind.connect(near := HalfNotes(), right := HalfNotes())
    left.abortConnection()
    left.abortConnection()
    kind.settle()
    assert near.events == ["lost"]
    assert right.events[-1] == "lost" or isinstance(kind, Streams), "a Unix socket knows no reset"
    if type(kind) is not Streams:
        assert right.events == ["lost"]
        assert right.reason is not None
        assert not right.reason.check(ConnectionDone)


def test_nothing_happens_on_a_lost_connection(ours: Kind) -> None:
    left, right = ours.connect(near := Notes(), HalfNotes())
    right.loseConnection()
    ours.settle()
    left.write(b"x")
    left.loseConnection()
    left.loseWriteConnection()
    left.abortConnection()
    left.pauseProducing()
    left.resumeProducing()
    ours.settle()
    assert near.events == ["lost"]


def test_an_echo_of_much_more_than_the_buffers_hold_comes_back_whole(kind: Kind) -> None:
    """Trap: two sides that pump each other must not recurse without bound."""

    class Echo(HalfNotes):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

        def readConnectionLost(self) -> None:
            self.transport.loseConnection()

    left, right = kind.connect(near := HalfNotes(), Echo())
    right.registerProducer(Coupled(right), True)
    left.write(BULK)
    left.loseWriteConnection()
    kind.settle()
    right.unregisterProducer()
    kind.settle()
    assert near.data == BULK
    assert "read closed" in near.events


class Coupled:
    """A producer that lets its own transport read only while it can write."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection goes away."""


# Streams alone


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_stream_begins_paused(loop: "Loop", tcp: Tcp) -> None:
    stream, far = tcp(notes := HalfNotes())
    far.sendall(b"early")
    loop.settle()
    assert notes.events == []
    stream.resumeProducing()
    loop.settle()
    assert notes.data == b"early"


def test_an_end_that_comes_together_with_bytes_is_seen(loop: "Loop", tcp: Tcp) -> None:
    """Trap: after a short read one need not read again, unless the event says that the end has come too."""
    stream, far = tcp(notes := HalfNotes())
    stream.resumeProducing()
    loop.settle()
    far.sendall(b"last words")
    far.shutdown(socket.SHUT_WR)
    loop.until(lambda: "read closed" in notes.events)
    assert notes.data == b"last words"


def test_a_short_read_saves_the_second_one(loop: "Loop", tcp: Tcp, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, far = tcp(notes := HalfNotes())
    stream.resumeProducing()
    loop.settle()

    class Counting:
        calls = 0

        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def recv(self, size: int) -> bytes:
            Counting.calls += 1
            return self.sock.recv(size)  # type: ignore[no-any-return]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    monkeypatch.setattr(stream, "sock", Counting(stream.sock))
    far.sendall(b"x")
    loop.until(lambda: notes.data)
    assert Counting.calls == 1


def test_while_it_is_paused_a_reset_is_told(loop: "Loop", tcp: Tcp) -> None:
    _, far = tcp(notes := HalfNotes())
    far.sendall(b"unread")
    loop.settle()
    reset(far)
    loop.until(lambda: notes.events)
    assert notes.events == ["lost"]
    assert notes.reason is not None
    assert notes.reason.check(ConnectionLost)


def test_while_it_is_paused_an_end_with_nothing_before_it_is_told(loop: "Loop", tcp: Tcp) -> None:
    _, far = tcp(notes := HalfNotes())
    far.shutdown(socket.SHUT_WR)
    loop.until(lambda: notes.events)
    assert notes.events == ["read closed"]


def test_while_it_is_paused_an_end_behind_unread_bytes_is_not_told(loop: "Loop", tcp: Tcp) -> None:
    stream, far = tcp(notes := HalfNotes())
    far.sendall(b"unread")
    far.shutdown(socket.SHUT_WR)
    loop.turn(0.1)
    loop.settle()
    assert notes.events == []
    stream.resumeProducing()
    loop.settle()
    assert notes.events == ["data", "read closed"]


def test_a_reset_after_the_end_of_stream_is_told(loop: "Loop", tcp: Tcp) -> None:
    stream, far = tcp(notes := HalfNotes())
    stream.resumeProducing()
    far.shutdown(socket.SHUT_WR)
    loop.until(lambda: notes.events)
    reset(far)
    loop.until(lambda: "lost" in notes.events)
    assert notes.reason is not None
    assert notes.reason.check(ConnectionLost)


def test_what_was_said_before_a_reset_is_delivered_although_a_send_failed(loop: "Loop", tcp: Tcp) -> None:
    """Seen: a server answered early and closed; the next send to it failed, and the answer was lost."""
    stream, far = tcp(notes := HalfNotes())
    stream.resumeProducing()
    loop.settle()
    stream.write(b"an upload that nobody reads")
    far.sendall(b"413 too large")
    far.close()
    stream.write(b"more of it")
    stream.write(b"and more")
    assert notes.events == []
    loop.until(lambda: "lost" in notes.events)
    assert notes.data == b"413 too large"
    assert notes.reason is not None
    assert notes.reason.check(ConnectionLost)


def test_a_send_that_fails_without_a_reset_is_the_end_too(loop: "Loop", tcp: Tcp) -> None:
    """There is no route any more, say: nothing will ever be there to be read, and no event tells."""
    stream, far = tcp(notes := HalfNotes())
    far.sendall(b"last words")
    loop.settle()
    sock, stream.sock = stream.sock, Unreachable(stream.sock)  # type: ignore[assignment]
    stream.write(b"x")
    loop.settle()
    assert notes.events == []
    stream.resumeProducing()
    loop.settle()
    assert notes.events == ["data", "lost"]
    assert notes.data == b"last words"
    assert sock.fileno() == -1


class Unreachable:
    """A socket that cannot send."""

    def __init__(self, sock: socket.SocketType) -> None:
        self._sock = sock

    def send(self, data: bytes) -> int:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_one_that_sends_without_end_leaves_turns_to_others(loop: "Loop", tcp: Tcp) -> None:
    """Trap: fairness. However much there is to read, one turn reads a bounded part of it."""

    class Endless:
        def recv(self, size: int) -> bytes:
            return bytes(size)

    stream, _ = tcp(notes := HalfNotes())
    sock, stream.sock = stream.sock, Endless()  # type: ignore[assignment]
    try:
        stream.reported = EPOLLIN
        stream.resumeProducing()
        loop.turn()
        assert 0 < len(notes.data) <= 1 << 20
        before = len(notes.data)
        loop.turn()
        assert before < len(notes.data) <= 2 * before, "the rest has its turn after the others"
    finally:
        stream.sock = sock


def test_a_dropped_stream_tells_nobody_and_closes(loop: "Loop", tcp: Tcp) -> None:
    stream, far = tcp(notes := HalfNotes())
    stream.drop()
    loop.settle()
    assert far.recv(1) == b""
    stream, far = tcp(notes)
    stream.drop(reset=True)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    assert notes.events == []
    assert len(loop.poller) == 0


def test_a_detached_stream_tells_nobody_and_stays_open(loop: "Loop", tcp: Tcp) -> None:
    stream, far = tcp(notes := HalfNotes())
    sock = stream.detach()
    far.sendall(b"for the next owner")
    loop.turn(0.1)
    assert notes.events == []
    assert sock.recv(100) == b"for the next owner"


def test_a_defect_in_a_protocol_resets_its_connection_alone(
    loop: "Loop", tcp: Tcp, logged: list[dict[str, Any]]
) -> None:
    def fail(event: str) -> None:
        if event == "data":
            raise ZeroDivisionError

    broken, far = tcp(bad := HalfNotes(fail))
    whole, other_far = tcp(good := HalfNotes())
    for stream in (broken, whole):
        stream.resumeProducing()
    far.sendall(b"x")
    other_far.sendall(b"x")
    loop.until(lambda: good.data and "lost" in bad.events)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ZeroDivisionError]


def test_a_connection_that_is_refused_is_told_later(loop: "Loop") -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    stream = Stream(loop.poller, nonblocking(socket.AF_INET))
    stream.connect(address, waiter := Waiter())
    assert not waiter.failed
    loop.until(lambda: waiter.failed)
    assert waiter.failed[0].errno == errno.ECONNREFUSED
    assert len(loop.poller) == 0


@pytest.mark.parametrize("there", [True, False], ids=["nobody listens", "nothing there"])
def test_a_unix_socket_that_refuses_at_once_is_told_later(loop: "Loop", tmp_path: Path, there: bool) -> None:
    path = str(tmp_path / "s")
    if there:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
    stream = Stream(loop.poller, nonblocking(socket.AF_UNIX))
    stream.connect(path, waiter := Waiter())
    assert not waiter.failed
    loop.until(lambda: waiter.failed)
    assert waiter.failed[0].errno == (errno.ECONNREFUSED if there else errno.ENOENT)


def test_a_unix_listener_whose_backlog_is_full_is_a_failure(loop: "Loop", tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiter = Waiter()
        streams = [Stream(loop.poller, nonblocking(socket.AF_UNIX)) for _ in range(5)]
        for stream in streams:
            stream.connect(path, waiter)
        loop.until(lambda: len(waiter.failed) + len(waiter.connected) == 5)
        assert {error.errno for error in waiter.failed} == {errno.EAGAIN}
        for stream in waiter.connected:
            stream.drop()


def test_a_connection_that_is_given_up_is_not_told(loop: "Loop") -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = Stream(loop.poller, nonblocking(socket.AF_INET))
        stream.connect(listener.getsockname(), waiter := Waiter())
        stream.drop()
        loop.settle()
        assert (waiter.connected, waiter.failed) == ([], [])


def test_the_test_kits_network_says_when_it_does_not_come_to_rest() -> None:
    network = MemoryNetwork()
    players = [HalfNotes(lambda event: players[0].transport.write(b"x")), HalfNotes()]
    players[1].act = lambda event: players[1].transport.write(b"x")
    left, _ = network.connect(players[0], players[1])
    assert isinstance(left, MemoryTransport)
    left.write(b"x")
    with pytest.raises(AssertionError, match="still moving"):
        network.settle(1000)


def test_resuming_reads_only_what_was_reported(loop: "Loop", tcp: Tcp) -> None:
    """A call of the kernel less for each connection whose client has not said a thing yet."""

    class Counted:
        reads = 0

        def recv(self, size: int) -> bytes:
            self.reads += 1
            raise BlockingIOError

    stream, _ = tcp(HalfNotes())
    sock, stream.sock = stream.sock, Counted()  # type: ignore[assignment]
    try:
        for reported, reads in ((0, 0), (EPOLLOUT, 0), (EPOLLIN, 1)):
            stream.pauseProducing()
            stream.reported = reported
            stream.resumeProducing()
            loop.turn()
            assert stream.sock.reads == reads  # type: ignore[attr-defined]
    finally:
        stream.sock = sock
