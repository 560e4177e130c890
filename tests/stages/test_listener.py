"""Accepting: in batches, while there is room, and without going mad when descriptors run out."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import LogEvent

from twisted_lb.net.listening import open_inherited, open_tcp
from twisted_lb.net.stream import Stream
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.listener import ACCEPT_BATCH, LOG_AGAIN_S, RETRY_S, StreamListener

if TYPE_CHECKING:
    from tests.conftest import Loop


class Frontend:
    """Takes what is accepted, and counts it against the limits."""

    def __init__(self, *limits: Limit) -> None:
        self.limits = limits
        self.streams: list[Stream] = []
        self.peers: list[Any] = []

    def accept(self, stream: Stream, peer: Any) -> None:
        stream.accepted()
        self.streams.append(stream)
        self.peers.append(peer)
        for limit in self.limits:
            limit.count += 1

    def end(self, number: int = 1) -> None:
        """So many of its connections end."""
        for _ in range(number):
            self.streams.pop().drop()
            for limit in self.limits:
                limit.give_back()


@pytest.fixture
def dial() -> Iterator[Callable[[Any], socket.socket]]:
    """Connect clients; they are closed at the end."""
    clients: list[socket.socket] = []

    def connect(address: Any) -> socket.socket:
        client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        client.settimeout(5)
        clients.append(client)
        client.connect(address)
        return client

    yield connect
    for client in clients:
        client.close()


Dial = Callable[[Any], socket.socket]


def listener(loop: "Loop", frontend: Frontend, limits: tuple[Limit, ...] = ()) -> StreamListener:
    sock = open_tcp(socket.AF_INET, ("127.0.0.1", 0), 1024)
    one = StreamListener(loop.poller, loop.clock, sock, "127.0.0.1:0", limits)
    one.accept = frontend.accept
    return one


def test_nothing_is_accepted_before_the_start(loop: "Loop", dial: Dial) -> None:
    one = listener(loop, frontend := Frontend())
    dial(one.getsockname())
    loop.settle()
    assert frontend.streams == []
    one.start()
    loop.settle()
    assert len(frontend.streams) == 1
    one.stop()


def test_a_connection_comes_with_its_address_and_paused(loop: "Loop", dial: Dial) -> None:
    one = listener(loop, frontend := Frontend())
    one.start()
    client = dial(one.getsockname())
    client.sendall(b"unread")
    loop.settle()
    assert frontend.peers == [client.getsockname()]
    stream = frontend.streams[0]
    assert stream.sock.gettimeout() == 0
    assert not os.get_inheritable(stream.fd)
    assert stream.sock.recv(100) == b"unread"
    one.stop()


def test_a_storm_is_taken_in_batches(loop: "Loop", dial: Dial) -> None:
    """Trap: many at a turn, but not all, so that those that exist get their turns."""
    one = listener(loop, frontend := Frontend())
    for _ in range(ACCEPT_BATCH + 10):
        dial(one.getsockname())
    one.start()
    loop.turn()
    assert len(frontend.streams) == ACCEPT_BATCH
    loop.turn()
    assert len(frontend.streams) == ACCEPT_BATCH + 10
    one.stop()


def test_it_takes_no_more_than_there_is_room_for(loop: "Loop", dial: Dial) -> None:
    process, own = Limit(100), Limit(3)
    frontend = Frontend(process, own)
    one = listener(loop, frontend, (process, own))
    one.start()
    for _ in range(5):
        dial(one.getsockname())
    loop.settle()
    assert len(frontend.streams) == 3
    assert loop.turn(0.02) == 0, "it sleeps meanwhile, though two wait in the backlog"
    frontend.end()
    loop.settle()
    assert len(frontend.streams) == 3
    frontend.end(2)
    loop.settle()
    assert len(frontend.streams) == 2
    one.stop()


def test_those_that_wait_in_the_backlog_are_not_refused(loop: "Loop", dial: Dial) -> None:
    limit = Limit(1)
    frontend = Frontend(limit)
    one = listener(loop, frontend, (limit,))
    one.start()
    dial(one.getsockname())
    waiting = dial(one.getsockname())
    waiting.sendall(b"hello")
    loop.settle()
    frontend.end()
    loop.settle()
    assert frontend.streams[0].sock.recv(10) == b"hello"
    one.stop()


def test_a_reload_may_replace_the_frontend_and_the_limits(loop: "Loop", dial: Dial) -> None:
    limit = Limit(1)
    one = listener(loop, before := Frontend(limit), (limit,))
    one.start()
    dial(one.getsockname())
    dial(one.getsockname())
    loop.settle()
    one.accept, one.limits = (after := Frontend()).accept, ()
    one.resume()
    loop.settle()
    assert (len(before.streams), len(after.streams)) == (1, 1)
    one.stop()


def test_a_stopped_listener_refuses(loop: "Loop", dial: Dial) -> None:
    one = listener(loop, Frontend())
    address = one.getsockname()
    one.start()
    one.stop()
    one.stop()
    one.resume()
    with pytest.raises(ConnectionRefusedError):
        dial(address)
    assert len(loop.poller) == 0


def test_a_listener_that_was_never_started_can_be_stopped(loop: "Loop") -> None:
    one = listener(loop, Frontend())
    one.resume()
    one.stop()


def test_a_defect_in_one_session_leaves_the_listener_open(loop: "Loop", dial: Dial, logged: list[LogEvent]) -> None:
    one = listener(loop, frontend := Frontend())

    def fail(stream: Stream, peer: Any) -> None:
        one.accept = frontend.accept
        raise ZeroDivisionError

    one.accept = fail
    one.start()
    dial(one.getsockname())
    loop.settle()
    dial(one.getsockname())
    loop.settle()
    assert len(frontend.streams) == 1
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]
    one.stop()


def test_an_inherited_socket_is_not_reported_any_more_once_its_listener_has_stopped(loop: "Loop", dial: Dial) -> None:
    """Seen: a stopping process spun, since the descriptor that it was started with kept the socket in the epoll."""
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        one = StreamListener(loop.poller, loop.clock, open_inherited(inherited.fileno(), 16), "fd:3", ())
        one.accept = Frontend().accept
        one.start()
        one.stop()
        dial(inherited.getsockname())
        assert loop.poller.epoll.poll(0) == []


class Failing:
    """A listening socket whose ``accept`` fails with each of these errors, and then says that nobody waits."""

    family = socket.AF_INET

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.real = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM)

    def fileno(self) -> int:
        return self.real.fileno()

    def _accept(self) -> Any:
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        raise BlockingIOError

    def close(self) -> None:
        self.real.close()


def failing(loop: "Loop", *errors: int) -> tuple[StreamListener, Failing]:
    sock = Failing(*errors)
    one = StreamListener(loop.poller, loop.clock, sock, "*:80", ())  # type: ignore[arg-type]
    one.accept = Frontend().accept
    one.start()
    return one, sock


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH])
def test_a_client_that_left_while_it_waited_is_passed_over(loop: "Loop", code: int, logged: list[LogEvent]) -> None:
    one, sock = failing(loop, code, code)
    one.on_events(1)
    assert sock.errors == []
    assert logged == []
    one.stop()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_running_out_says_what_to_do(loop: "Loop", code: int, logged: list[LogEvent]) -> None:
    one, _ = failing(loop, code)
    one.on_events(1)
    assert "raise the descriptor limit" in logged[0]["advice"]
    one.stop()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EINVAL, errno.ENOTSOCK])
def test_what_cannot_be_accepted_is_logged_once_a_minute_and_retried(
    loop: "Loop", code: int, logged: list[LogEvent]
) -> None:
    one, sock = failing(loop, *[code] * 10)
    for tries in range(1, 5):
        one.on_events(1)
        assert len(sock.errors) == 10 - tries, "one try, and then a pause"
        one.on_events(1)
        assert len(sock.errors) == 10 - tries
        loop.clock.advance(RETRY_S)
    assert [event["name"] for event in logged] == ["*:80"]
    assert os.strerror(code) in logged[0]["reason"]
    assert bool(logged[0]["advice"]) == (code == errno.EMFILE)
    loop.clock.advance(LOG_AGAIN_S)
    one.on_events(1)
    assert len(logged) == 2
    one.stop()
    assert loop.clock.getDelayedCalls() == []


def test_a_limit_that_is_free_again_does_not_cut_the_pause_short(loop: "Loop") -> None:
    one, sock = failing(loop, errno.EMFILE, errno.EMFILE)
    one.on_events(1)
    one.resume()
    one.on_events(1)
    assert len(sock.errors) == 1
    loop.clock.advance(RETRY_S)
    one.on_events(1)
    assert len(sock.errors) == 0
    one.stop()


PROGRAM = """
import os, resource, socket, sys
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher, ILogObserver
from zope.interface import provider
from twisted_lb.net.listening import open_tcp
from twisted_lb.net.poll import Poller
from twisted_lb.stages.listener import RETRY_S, StreamListener

logged = []
globalLogPublisher.addObserver(provider(ILogObserver)(lambda event: logged.append(event)))
clock = Clock()
clock.advance(1000)
poller = Poller(clock)
listener = StreamListener(poller, clock, open_tcp(socket.AF_INET, ("127.0.0.1", 0), 1024), "*:80", ())
streams = []
listener.accept = lambda stream, peer: streams.append(stream)
listener.start()
clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
used = max(map(int, os.listdir("/proc/self/fd"))) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def turn():
    events = poller.epoll.poll(0)
    poller.dispatch(events)
    return len(events)

turn()
first = len(streams)
assert 0 < first < 20, first
assert [turn() for _ in range(3)] == [0, 0, 0], "a listener that cannot accept must not keep the loop busy"
clock.advance(RETRY_S)
assert turn() == 0, "still nothing free: it looks by itself before it asks the kernel"
assert len(logged) == 1, logged
while len(streams) < 20:
    for stream in streams:
        stream.sock.close()
    clock.advance(RETRY_S)
    turn()
assert len(logged) == 1, logged
print("recovered after", first)
"""


@pytest.mark.linux
def test_a_process_out_of_descriptors_pauses_and_recovers(tmp_path: Path) -> None:
    """Trap: a listener that cannot accept stays readable for ever."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recovered after")
