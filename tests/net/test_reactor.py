"""The poller's turns: in our own reactor, and nested into any other."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import ClientFactory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.net.kinds import Waiter
from twisted_lb.net.poll import READING, Poller
from twisted_lb.net.reactor import LBReactor, MonotonicTime, NestedPoller, clock_of, poller_of
from twisted_lb.net.stream import Stream


class Spy:
    """A watcher that notes its events and may ask for more turns."""

    def __init__(self, poller: Poller, more: int = 0) -> None:
        self.poller = poller
        self.more = more
        self.events: list[int] = []

    def on_events(self, events: int) -> None:
        self.events.append(events)
        if self.more:
            self.more -= 1
            self.poller.again(self)

    def on_crash(self) -> None:
        raise AssertionError


class Foreign:
    """A descriptor of Twisted's kind."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got: list[bytes] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "foreign"

    def doRead(self) -> None:
        self.got.append(self.sock.recv(100))

    def connectionLost(self, reason: object) -> None:
        """It is of no interest."""


@pytest.fixture(params=[LBReactor, EPollReactor, PollReactor, SelectReactor])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A reactor of any kind, which is not the process's."""
    one = request.param()
    yield one
    one.removeAll()
    for wakeup in one._internalReaders:
        wakeup.connectionLost(None)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def turn(reactor: Any) -> None:
    """As the reactor's main loop does it, for 5 s at most."""
    timeout_s = reactor.timeout()
    reactor.doIteration(5 if timeout_s is None else min(5, timeout_s))
    reactor.runUntilCurrent()


def until(reactor: Any, condition: Callable[[], object]) -> None:
    """Turn the reactor until ``condition`` holds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        turn(reactor)


def test_our_watchers_get_their_events_on_any_reactor(reactor: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    poller = poller_of(reactor)
    poller.watch(pair[0].fileno(), spy := Spy(poller), READING)
    pair[1].send(b"x")
    until(reactor, lambda: spy.events)
    assert spy.events == [1]


def test_the_reactors_own_descriptors_get_theirs(reactor: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    poller_of(reactor)
    reactor.addReader(foreign := Foreign(pair[0]))
    pair[1].send(b"x")
    until(reactor, lambda: foreign.got)
    reactor.removeReader(foreign)
    pair[1].send(b"y")
    reactor.iterate(0)
    assert foreign.got == [b"x"]


def test_what_asks_for_a_turn_between_batches_gets_it_at_once(reactor: Any) -> None:
    """Seen: a stream that was resumed by a transport of Twisted's slept until something else had an event."""
    poller = poller_of(reactor)
    reactor.callLater(0, poller.again, spy := Spy(poller, more=50))
    begin = time.monotonic()
    until(reactor, lambda: len(spy.events) > 50)
    assert time.monotonic() - begin < 2, "it must not wait while there is something to do"


def test_a_long_transfer_goes_on_without_new_events(reactor: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    poller = poller_of(reactor)
    poller.watch(pair[0].fileno(), spy := Spy(poller, more=50), READING)
    pair[1].send(b"x")
    until(reactor, lambda: len(spy.events) > 50)
    assert spy.events == [1, *[0] * 50]


def test_the_reactors_timers_run_during_a_long_transfer(
    reactor: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    poller = poller_of(reactor)
    poller.watch(pair[0].fileno(), spy := Spy(poller, more=1_000_000_000), READING)
    pair[1].send(b"x")
    called: list[int] = []
    reactor.callLater(0.01, called.append, 1)
    until(reactor, lambda: called)
    assert spy.more > 0


def test_there_is_one_poller_per_reactor() -> None:
    first, second = PollReactor(), PollReactor()
    assert poller_of(first) is poller_of(first)
    assert poller_of(first) is not poller_of(second)
    ours = LBReactor()
    assert poller_of(ours) is ours.poller


def test_a_nested_poller_does_a_few_batches_and_lets_the_reactor_go_on() -> None:
    class Readers:
        def addReader(self, reader: Any) -> None:
            """It is turned by hand."""

    clock = Clock()
    nested = NestedPoller(Readers(), clock)  # type: ignore[arg-type]
    nested.poller.again(spy := Spy(nested.poller, more=1000))
    clock.getDelayedCalls()[0].cancel()
    nested.doRead()
    assert 1 <= len(spy.events) <= 10
    assert len(clock.getDelayedCalls()) == 1, "and asks for its next turn"
    clock.advance(0)
    assert len(spy.events) == 1001
    nested.poller.epoll.close()


def test_the_clock_looks_like_the_wall_clock_and_does_not_follow_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = LBReactor()
    assert abs(ours.seconds() - time.time()) < 5
    before = ours.seconds()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= ours.seconds() - before < 5
    called: list[int] = []
    ours.callLater(0.01, called.append, 1)
    until(ours, lambda: called)


def test_the_clock_of_any_other_reactor_is_monotonic_too(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PollReactor()
    clock = clock_of(other)
    assert isinstance(clock, MonotonicTime)
    verifyObject(IReactorTime, clock)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert abs(clock.seconds() - time.monotonic()) < 5
    call = clock.callLater(1000, print)
    assert call in clock.getDelayedCalls()
    call.cancel()
    ours = LBReactor()
    assert clock_of(ours) is ours


class Trigger:
    """A watcher that does something at its first event."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def on_events(self, events: int) -> None:
        self.act()

    def on_crash(self) -> None:
        raise AssertionError


@pytest.fixture
def silent() -> Iterator[Any]:
    """An address that never answers: a backlog that is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("reactor", [LBReactor], indirect=True)
def test_an_event_of_a_transport_that_was_given_up_is_not_taken_for_a_stream_that_got_its_number(
    reactor: Any, pair: tuple[socket.socket, socket.socket], silent: Any, refused: bool
) -> None:
    """Seen: Twisted closes at once what is given up while it connects; a stream that began to connect in the same batch
    of events got the number, was told that it had an event, and was taken for connected.
    """
    poller = poller_of(reactor)
    waiter = Waiter()
    streams: list[Stream] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if refused:
            listener.close()

        def give_up_and_connect() -> None:
            number = attempt.transport.fileno()
            attempt.stopConnecting()
            sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            assert sock.fileno() == number, "the number is free, and the lowest"
            streams.append(Stream(poller, sock))
            streams[0].connect(silent, waiter)

        poller.watch(pair[0].fileno(), Trigger(give_up_and_connect), READING)
        pair[1].send(b"x")
        attempt = reactor.connectTCP("127.0.0.1", port, ClientFactory())
        reactor.runUntilCurrent()
        reactor.doIteration(1)
        assert streams
        assert (waiter.connected, waiter.failed) == ([], [])
        streams[0].drop()


def test_the_private_name_that_we_use_is_still_twisteds() -> None:
    reactor = EPollReactor()
    assert hasattr(reactor, "_poller"), "LBReactor takes its epoll from there"
    assert hasattr(reactor, "_selectables")
    assert hasattr(reactor, "_doReadOrWrite")


PROGRAM = """
from twisted_lb.net.reactor import LBReactor, install
install()
from twisted.internet import reactor
from twisted.internet.error import ReactorAlreadyInstalledError
assert type(reactor) is LBReactor
try:
    install()
except ReactorAlreadyInstalledError:
    print("one is enough")
from twisted.internet import endpoints, protocol, task, threads
from twisted.protocols import wire

async def main(reactor):
    port = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        protocol.Factory.forProtocol(wire.Echo)
    )
    class Client(protocol.Protocol):
        def connectionMade(self):
            self.transport.write(b"echo")
        def dataReceived(self, data):
            print(data.decode())
            self.transport.loseConnection()
    client = Client()
    await endpoints.connectProtocol(endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client)
    print(await threads.deferToThread(lambda: "from a thread"))
    await task.deferLater(reactor, 0.05, lambda: None)

task.react(main)
"""


def test_twisted_runs_on_it_as_on_its_own() -> None:
    """Installed as the process's reactor: endpoints, threads, timers, a clean end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert sorted(done.stdout.split("\n")) == ["", "echo", "from a thread", "one is enough"]
