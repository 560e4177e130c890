"""The copy loop between two streams of ours: the traps of edge-triggered relaying, and how it ends."""

import gc
import hashlib
import inspect
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogEvent

from twisted_lb.endings import Cause
from twisted_lb.net.poll import ASIDE_BUDGET, EPOLLIN, LOOK, WINDOWS
from twisted_lb.net.stream import Stream
from twisted_lb.stages.relay import StreamRelay

if TYPE_CHECKING:
    from tests.conftest import Loop

SMALL = WINDOWS[0]
NOISE = os.urandom(1 << 20)


class Owner:
    """Notes what it is told, and lets go of the relay as a session does."""

    def __init__(self) -> None:
        self.endings: list[tuple[Cause, str]] = []
        self.half_closed = 0
        self.relay: StreamRelay | None = None
        self.bytes = (0, 0)

    def relay_ended(self, cause: Cause, reason: str) -> None:
        relay, self.relay = self.relay, None
        assert relay is not None
        self.bytes = relay.client.bytes_in, relay.server.bytes_in
        relay.forget()
        self.endings.append((cause, reason))

    def relay_half_closed(self) -> None:
        self.half_closed += 1

    @property
    def causes(self) -> list[Cause]:
        """With which causes the relay ended."""
        return [cause for cause, _ in self.endings]


class Mute:
    """The protocol of a stream before the relay: it has nothing to say about anything."""

    def readConnectionLost(self) -> None:
        """The stream has ended, with nothing unread."""

    def connectionLost(self, reason: object) -> None:
        """The stream is gone."""


class Link:
    """A relay with a plain socket at either end, held by the test. It is made but not started."""

    def __init__(self, loop: "Loop", family: int = socket.AF_INET) -> None:
        self.loop = loop
        near_client, self.client = connected(family)
        near_server, self.server = connected(family)
        self.streams = [Stream(loop.poller, near) for near in (near_client, near_server)]
        for stream in self.streams:
            stream.attach(Mute(), True)
            stream.accepted()
        self.owner = Owner()

    def start(self, peeked: bytes = b"", preface: bytes = b"") -> "StreamRelay":
        """Begin to relay."""
        client, server = self.streams
        relay = self.owner.relay = StreamRelay(self.owner, client, server)
        relay.start(preface, peeked, client.reported, server.reported)
        return relay

    def close(self) -> None:
        """Leave nothing open."""
        if self.owner.relay is not None:
            self.owner.relay.end(Cause.KILLED)
        self.client.close()
        self.server.close()


def connected(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        ends = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ends = socket.create_connection(listener.getsockname()), listener.accept()[0]
    for end in ends:
        end.setblocking(False)
    return ends


@pytest.fixture
def links(loop: "Loop") -> Iterator[Callable[..., Link]]:
    """Make relays; they are closed at the end."""
    made: list[Link] = []

    def make(family: int = socket.AF_INET) -> Link:
        made.append(Link(loop, family))
        return made[-1]

    yield make
    for link in made:
        link.close()


@pytest.fixture
def link(links: Callable[..., Link]) -> Link:
    """One relay over TCP."""
    return links()


Links = Callable[..., Link]


def read(sock: socket.socket) -> bytes:
    """Everything that has arrived."""
    pieces = []
    while True:
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def ended(sock: socket.socket) -> bool:
    """Whether an end of stream, and nothing before it, is there to be read."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def fill(loop: "Loop", sock: socket.socket) -> bytes:
    """Send until nothing goes any more; returns what was taken."""
    taken = bytearray()
    while True:
        try:
            taken += NOISE[: sock.send(NOISE)]
        except BlockingIOError:
            before = len(taken)
            loop.turn(0.05)
            try:
                taken += NOISE[: sock.send(NOISE)]
            except BlockingIOError:
                if len(taken) == before:
                    return bytes(taken)
        else:
            loop.turn()
        assert len(taken) < 200 << 20, "nothing stops it"


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def was_reset(sock: socket.socket) -> bool:
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    except BlockingIOError:
        pass
    return False


# The traps


def test_an_end_that_comes_together_with_bytes_is_passed_on(loop: "Loop", link: Link) -> None:
    """Trap 1: after a short read one need not read again, unless the event says that the end has come too."""
    link.start()
    loop.settle()
    link.client.send(b"last words")
    link.client.shutdown(socket.SHUT_WR)
    loop.until(lambda: link.owner.half_closed)
    loop.settle()
    assert read(link.server) == b"last words"
    assert ended(link.server)


@pytest.mark.parametrize("size", [SMALL, SMALL + 1, 5 * SMALL, 10 * SMALL + 1])
def test_an_end_behind_more_than_one_window_is_passed_on(loop: "Loop", link: Link, size: int) -> None:
    """Seen: the event with the end came with the first window; what was cut short had its turn without an event, and
    after its short read nobody looked for the end any more.
    """
    link.start()
    loop.settle()
    sent = 0
    while sent < size:
        sent += link.client.send(NOISE[sent:size])
    link.client.shutdown(socket.SHUT_WR)
    loop.until(lambda: link.owner.half_closed)
    assert read(link.server) == NOISE[:size]
    assert ended(link.server)


def test_what_came_before_the_server_was_connected_goes_out_without_another_event(loop: "Loop", link: Link) -> None:
    """Trap 2: the client's event has been and gone when the relay begins."""
    link.client.send(b"impatient")
    loop.settle()
    link.start()
    assert read(link.server) == b"impatient"


def test_an_end_that_came_before_the_server_was_connected_is_passed_on(loop: "Loop", link: Link) -> None:
    link.client.send(NOISE[: SMALL + 1])
    link.client.shutdown(socket.SHUT_WR)
    loop.turn(0.1)
    loop.settle()
    link.start()
    loop.until(lambda: link.owner.half_closed)
    assert read(link.server) == NOISE[: SMALL + 1]
    assert ended(link.server)


def test_what_the_server_said_before_the_relay_began_goes_out_without_another_event(loop: "Loop", link: Link) -> None:
    link.server.send(b"220 ready")
    loop.settle()
    link.start()
    assert read(link.client) == b"220 ready"


def test_what_was_looked_at_goes_first_and_behind_our_own_preface(loop: "Loop", link: Link) -> None:
    link.client.send(b"three")
    loop.settle()
    relay = link.start(b"two ", preface=b"one ")
    assert read(link.server) == b"one two three"
    assert relay.client.bytes_in == len(b"two three"), "the preface is not the client's"


def test_a_number_that_is_used_again_in_the_same_batch_gets_no_stale_event(loop: "Loop", links: Links) -> None:
    """Trap 3: the sockets of a relay that ends within a batch are closed at its end."""
    first, second = links(), links()
    relay = first.start()
    second.start()
    numbers = relay.client.fd, relay.server.fd
    loop.settle()
    reset(first.client)
    second.client.send(b"x")
    newcomers: list[socket.socket] = []
    owner_ended = first.owner.relay_ended

    def accept_another(cause: Cause, reason: str) -> None:
        owner_ended(cause, reason)
        newcomers.extend(connected())

    first.owner.relay_ended = accept_another  # type: ignore[method-assign]
    loop.until(lambda: newcomers)
    loop.settle()
    assert not {sock.fileno() for sock in newcomers} & set(numbers)
    assert read(second.server) == b"x"
    for sock in newcomers:
        sock.close()


def test_while_a_chunk_is_pending_its_source_is_not_read_and_afterwards_it_is_read_at_once(
    loop: "Loop", link: Link
) -> None:
    """Trap 4: what came meanwhile was reported once, and will not be again."""
    relay = link.start()
    taken = fill(loop, link.client)
    pending = relay.server.pending
    assert pending is not None
    assert 0 < len(pending) <= WINDOWS[-1]
    assert relay.server.blocked_since == loop.poller.now
    unread = relay.client.bytes_in
    loop.turn(0.02)
    assert relay.client.bytes_in == unread < len(taken)
    got = hashlib.sha256()
    count = 0
    while count < len(taken):
        piece = read(link.server)
        got.update(piece)
        count += len(piece)
        loop.turn(0.05)
    assert got.digest() == hashlib.sha256(taken).digest()
    assert (relay.server.pending, relay.server.blocked_since, loop.poller.aside) == (None, 0.0, 0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_two_full_directions_do_not_recurse(loop: "Loop", links: Links, family: int) -> None:
    """Trap 5: two sides that pump each other, each time one of them has room again."""
    link = links(family)
    link.start()
    up, down = fill(loop, link.client), fill(loop, link.server)
    got_up, got_down = bytearray(), bytearray()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        while len(got_up) < len(up) or len(got_down) < len(down):
            for sock, got in ((link.server, got_up), (link.client, got_down)):
                try:
                    got += sock.recv(50_000)
                except BlockingIOError:
                    loop.turn(0.001)
            loop.turn()
    finally:
        sys.setrecursionlimit(limit)
    assert (bytes(got_up), bytes(got_down)) == (up, down)


class Bulk:
    """A relay whose client sends without end, and whose server takes everything."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.reads: list[int] = []
        link.start()
        assert link.owner.relay is not None
        self.client, self.server = link.owner.relay.client, link.owner.relay.server
        self.takes: Callable[[int], int] = lambda size: size
        self.gives: Callable[[int], int] = lambda size: size
        self.client.recv_into = self._recv_into  # type: ignore[assignment]
        self.server.send = self._send

    def _send(self, view: memoryview) -> int:
        return self.takes(len(view))

    def _recv_into(self, view: memoryview) -> int:
        self.reads.append(len(view))
        assert len(self.reads) < 1000, "it never comes to an end"
        return self.gives(len(view))


def test_a_bulk_transfer_moves_a_bounded_part_each_turn_and_small_messages_go_between(
    loop: "Loop", links: Links
) -> None:
    """Trap 6: one that always has more is put back, and has its turn after the others."""
    bulk, small = Bulk(links()), links()
    small.start()
    loop.settle()
    bulk.client.on_events(EPOLLIN)
    for turn in range(20):
        small.client.send(b"ping")
        before = len(bulk.reads)
        loop.turn()
        assert len(bulk.reads) == before + 1, "one window in each turn, and one turn in each batch"
        assert read(small.server) == b"ping", f"in turn {turn}"


@pytest.mark.parametrize("events", [0, LOOK])
def test_one_that_sends_as_fast_as_it_is_read_leaves_turns_to_others(loop: "Loop", links: Links, events: int) -> None:
    """Seen: no read filled its window, none found nothing, and one turn moved 56 MiB while the others waited."""
    bulk = Bulk(links())
    bulk.gives = lambda size: size - 1
    for _ in range(10):
        before = len(bulk.reads)
        bulk.client.on_events(events)
        assert len(bulk.reads) - before <= 2
        assert list(loop.poller.ready) == [bulk.client], "it has its next turn after the others"
        loop.poller.ready.clear()


def test_events_that_come_again_and_again_do_not_add_up_to_more_turns(loop: "Loop", links: Links) -> None:
    """Seen: with each event of a transfer that was waiting for its turn already it had one turn more in each batch."""
    bulk = Bulk(links())
    for _ in range(10):
        before = len(bulk.reads)
        loop.poller.dispatch([(bulk.client.fd, EPOLLIN)])
        assert len(bulk.reads) - before <= 2, "one for the event, and one for what was cut short"


def test_the_window_grows_with_the_transfer_and_shrinks_when_the_reader_is_slow(loop: "Loop", links: Links) -> None:
    bulk = Bulk(links())
    bulk.client.on_events(EPOLLIN)
    for _ in range(4):
        loop.turn()
    assert bulk.reads == [*WINDOWS, WINDOWS[-1], WINDOWS[-1]]
    bulk.takes = lambda size: size // 2
    loop.turn()
    assert bulk.client.window == 0
    assert bulk.server.pending is not None
    assert len(bulk.server.pending) == WINDOWS[-1] // 2


def test_when_much_is_set_aside_in_all_every_window_is_small(loop: "Loop", links: Links) -> None:
    bulk = Bulk(links())
    bulk.client.on_events(EPOLLIN)
    loop.turn()
    loop.poller.aside = ASIDE_BUDGET + 1
    bulk.reads.clear()
    for _ in range(3):
        loop.turn()
    loop.poller.aside = 0
    assert bulk.reads == [SMALL] * 3


def test_relays_leave_nothing_for_the_garbage_collector(loop: "Loop") -> None:
    """Trap 9: the two sides refer to each other, and would live until the collector comes by."""

    def run(number: int) -> None:
        link = Link(loop, socket.AF_UNIX)
        link.start(b"peeked" if number % 2 else b"")
        link.client.send(b"question")
        loop.settle()
        link.server.send(b"answer")
        loop.settle()
        if number % 3 == 0:
            link.client.shutdown(socket.SHUT_WR)
            loop.settle()
            link.server.shutdown(socket.SHUT_WR)
            loop.settle()
        elif number % 3 == 1:
            fill(loop, link.client) if number < 4 else None
            link.client.close()
            link.server.close()
            loop.settle()
        link.close()
        assert len(link.owner.endings) == 1

    run(0)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for number in range(200):
            run(number)
        assert len(gc.get_objects()) - before < 100
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert len(loop.poller) == 0


# How it ends


def test_both_sides_may_end_and_the_ending_is_normal(loop: "Loop", link: Link) -> None:
    link.start()
    link.client.send(b"question")
    link.client.shutdown(socket.SHUT_WR)
    loop.until(lambda: link.owner.half_closed)
    link.server.send(b"answer")
    link.server.shutdown(socket.SHUT_WR)
    loop.until(lambda: link.owner.endings)
    assert link.owner.endings == [(Cause.NORMAL, "")]
    assert link.owner.half_closed == 1
    assert link.owner.bytes == (8, 6)
    assert (read(link.server), read(link.client)) == (b"question", b"answer")
    assert len(loop.poller) == 0


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_end_waits_until_the_other_side_has_taken_everything(loop: "Loop", link: Link, who: str) -> None:
    link.start()
    source, sink = (link.client, link.server) if who == "client" else (link.server, link.client)
    taken = fill(loop, source)
    source.shutdown(socket.SHUT_WR)
    sink.shutdown(socket.SHUT_WR)
    loop.turn(0.05)
    loop.settle()
    assert not link.owner.endings
    got = bytearray()
    while not link.owner.endings:
        got += read(sink)
        loop.turn(0.05)
    got += read(sink)
    assert got == taken
    assert link.owner.causes == [Cause.NORMAL]


@pytest.mark.parametrize(("who", "cause"), [("client", Cause.CLIENT), ("server", Cause.SERVER)])
def test_a_reset_on_one_side_is_a_reset_on_the_other(loop: "Loop", link: Link, who: str, cause: Cause) -> None:
    link.start()
    near, far = (link.client, link.server) if who == "client" else (link.server, link.client)
    near.send(b"x")
    loop.settle()
    reset(near)
    loop.until(lambda: link.owner.endings)
    assert link.owner.endings == [(cause, "Connection reset by peer")]
    assert was_reset(far)


@pytest.mark.parametrize(("who", "cause"), [("client", Cause.CLIENT), ("server", Cause.SERVER)])
def test_a_reset_is_noticed_while_nothing_is_read_from_that_side(
    loop: "Loop", link: Link, who: str, cause: Cause
) -> None:
    """It has ended already, or the other side does not take what there is."""
    link.start()
    near, far = (link.client, link.server) if who == "client" else (link.server, link.client)
    fill(loop, near)
    reset(near)
    loop.until(lambda: link.owner.endings)
    assert link.owner.causes == [cause]
    assert was_reset(far)
    assert loop.poller.aside == 0


@pytest.mark.parametrize(("who", "cause"), [("client", Cause.CLIENT), ("server", Cause.SERVER)])
def test_a_reset_after_the_end_of_stream_is_noticed(loop: "Loop", link: Link, who: str, cause: Cause) -> None:
    link.start()
    near, far = (link.client, link.server) if who == "client" else (link.server, link.client)
    near.shutdown(socket.SHUT_WR)
    loop.until(lambda: link.owner.half_closed)
    reset(near)
    loop.until(lambda: link.owner.endings)
    assert link.owner.causes == [cause]
    assert not link.owner.relay
    assert ended(far)


def test_an_answer_before_a_reset_reaches_a_client_that_still_sends(loop: "Loop", link: Link) -> None:
    link.start()
    link.client.send(b"an upload")
    loop.settle()
    link.server.send(b"413 too large")
    link.server.close()  # with bytes unread: a RST
    link.client.send(b"more of it")
    loop.until(lambda: link.owner.endings)
    assert link.owner.causes == [Cause.SERVER]
    assert link.client.recv(100) == b"413 too large"


def test_the_owner_may_end_it_and_both_sides_are_reset(loop: "Loop", link: Link) -> None:
    relay = link.start()
    relay.end(Cause.KILLED, "the process stops")
    relay.end(Cause.CLIENT, "too late")
    assert link.owner.endings == [(Cause.KILLED, "the process stops")]
    assert was_reset(link.client)
    assert was_reset(link.server)
    loop.settle()


def test_a_defect_ends_this_relay_alone(loop: "Loop", links: Links, logged: list[LogEvent]) -> None:
    broken, whole = links(), links()
    relay = broken.start()
    whole.start()

    def fail(view: memoryview) -> int:
        raise ZeroDivisionError

    relay.client.recv_into = fail  # type: ignore[assignment]
    for link in (broken, whole):
        link.client.send(b"x")
    loop.until(lambda: broken.owner.endings)
    loop.settle()
    assert broken.owner.causes == [Cause.INTERNAL]
    assert read(whole.server) == b"x"
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_events_after_the_end_do_nothing(loop: "Loop", link: Link) -> None:
    relay = link.start()
    side = relay.client
    relay.end(Cause.KILLED)
    side.on_events(EPOLLIN)
    side.on_crash()
    assert link.owner.causes == [Cause.KILLED]


def test_activity_is_noted_at_each_byte_that_moves(loop: "Loop", link: Link) -> None:
    relay = link.start()
    loop.settle()
    begin = relay.last
    loop.clock.advance(10)
    loop.turn()
    assert relay.last == begin
    link.server.send(b"x")
    loop.turn()
    assert relay.last == begin + 10


def test_a_side_is_blocked_from_the_moment_at_which_it_took_the_last_byte(loop: "Loop", link: Link) -> None:
    relay = link.start()
    fill(loop, link.client)
    since = relay.server.blocked_since
    loop.clock.advance(7)
    loop.turn(0.02)
    assert relay.server.blocked_since == since > 0
    before = relay.server.pending
    while relay.server.pending is before:
        read(link.server)
        loop.turn(0.05)
    assert relay.server.blocked_since in (0.0, since + 7)


def test_bytes_behind_urgent_data_do_not_wait_for_the_next_ones(link: Link, loop: "Loop") -> None:
    """Seen: a read stops at urgent data, was taken for all there was, and the rest waited for another byte."""
    link.start()
    loop.settle()
    link.client.send(b"aaaa")
    link.client.send(b"!", socket.MSG_OOB)
    link.client.send(b"bbbb")
    loop.settle()
    assert read(link.server) == b"aaaabbbb"


def test_an_end_does_not_hide_what_is_behind_urgent_data(link: Link, loop: "Loop") -> None:
    link.start()
    loop.settle()
    link.client.send(b"aaaa")
    link.client.send(b"!", socket.MSG_OOB)
    link.client.send(b"bbbb")
    link.client.shutdown(socket.SHUT_WR)
    loop.settle()
    assert read(link.server) == b"aaaabbbb"
    assert link.server.recv(1) == b""


@pytest.mark.parametrize(("family", "reads"), [(socket.AF_INET, 1), (socket.AF_UNIX, 2)])
def test_an_end_that_came_with_the_last_bytes_is_not_asked_for(
    links: Links, loop: "Loop", family: int, reads: int
) -> None:
    link = links(family)
    relay = link.start()
    loop.settle()
    counts: list[int] = []
    recv_into = relay.client.recv_into

    def counted(view: memoryview) -> int:
        counts.append(recv_into(view))
        return counts[-1]

    relay.client.recv_into = counted  # type: ignore[assignment]
    link.client.send(b"last")
    link.client.shutdown(socket.SHUT_WR)
    loop.settle()
    assert read(link.server) == b"last"
    assert link.server.recv(1) == b""
    assert relay.client.eof
    assert len(counts) == reads


def segments_received(sock: socket.socket) -> int:
    """How many segments have come, empty ones too: ``tcpi_segs_in`` in linux/tcp.h."""
    (count,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 140)
    return int(count)


def test_the_last_bytes_and_the_end_share_a_packet(link: Link, loop: "Loop") -> None:
    link.start()
    loop.settle()
    before = segments_received(link.server)
    link.client.send(b"last")
    link.client.shutdown(socket.SHUT_WR)
    loop.settle()
    assert read(link.server) == b"last"
    assert link.server.recv(1) == b""
    assert segments_received(link.server) == before + 1


def test_last_bytes_to_a_side_that_has_ended_do_not_wait(link: Link, loop: "Loop") -> None:
    link.start()
    link.server.shutdown(socket.SHUT_WR)
    loop.settle()
    link.client.send(b"last")
    link.client.shutdown(socket.SHUT_WR)
    loop.settle()
    assert read(link.server) == b"last"
    assert link.server.recv(1) == b""


def test_bytes_behind_passed_descriptors_do_not_wait_for_the_next_ones(links: Links, loop: "Loop") -> None:
    """Seen: as with urgent data, over a Unix socket."""
    link = links(socket.AF_UNIX)
    link.start()
    loop.settle()
    socket.send_fds(link.client, [b"aaaa"], [link.client.fileno()])
    link.client.send(b"bbbb")
    loop.settle()
    assert read(link.server) == b"aaaabbbb"
