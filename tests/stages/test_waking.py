"""Many listeners and limits: whoever waits in a backlog is taken once there is room, and one is asked per place."""

import errno
import socket
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from twisted_lb.net.stream import Stream
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.listener import RETRY_S, StreamListener
from twisted_lb.stages.listener_endpoint import EndpointListener


class Kernel:
    """A poller without a kernel: it reports whichever watched backlog is not empty."""

    def __init__(self) -> None:
        self.epoll = self
        self.watched: dict[int, tuple[StreamListener, int]] = {}
        self.ready: list[StreamListener] = []
        self.modified = 0

    def watch(self, fd: int, watcher: StreamListener, events: int) -> None:
        self.watched[fd] = watcher, events

    def modify(self, fd: int, events: int) -> None:
        self.watched[fd] = self.watched[fd][0], events
        self.modified += 1

    def again(self, watcher: StreamListener) -> None:
        self.ready.append(watcher)

    def unregister(self, fd: int) -> None:
        del self.watched[fd]

    def close(self, fd: int, sock: Any) -> None:
        """Nothing is open."""

    def turn(self, sockets: dict[int, "Backlog"]) -> bool:
        """One batch. Returns whether there was anything to do."""
        events = [one for fd, (one, events) in self.watched.items() if events and sockets[fd].waiting]
        for watcher in events:
            self.call(watcher, 1)
        ready, self.ready = self.ready, []
        for watcher in ready:
            self.call(watcher, 0)
        return bool(events or ready)

    def call(self, watcher: StreamListener, events: int) -> None:
        """Tell one listener, as the poller does."""
        try:
            watcher.on_events(events)
        except ZeroDivisionError:
            watcher.on_crash()

    def settle(self, sockets: dict[int, "Backlog"]) -> None:
        """Turn until nothing is left to do."""
        for _ in range(1000):
            if not self.turn(sockets):
                return
        raise AssertionError("it never comes to rest")


class Backlog:
    """A listening socket: so many wait, and before them there are errors."""

    family = 2

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.waiting = 0
        self.errors: list[int] = []

    def fileno(self) -> int:
        return self.fd

    def _accept(self) -> tuple[int, Any]:
        if self.errors:
            raise OSError(self.errors.pop(), "an error")
        if not self.waiting:
            raise BlockingIOError
        self.waiting -= 1
        return socket.socket(socket.AF_UNIX).detach(), None


class World:
    """Listeners, the limits that they share, and the connections that they have accepted."""

    def __init__(self, limits: list[Limit]) -> None:
        self.kernel = Kernel()
        self.clock = Clock()
        self.limits = limits
        self.sockets: dict[int, Backlog] = {}
        self.listeners: list[StreamListener] = []
        self.open: list[tuple[Limit, ...]] = []
        self.refusals = 0
        self.defects = 0

    def listen(self, *limits: Limit) -> StreamListener:
        backlog = Backlog(len(self.sockets))
        self.sockets[backlog.fd] = backlog
        one = StreamListener(self.kernel, self.clock, backlog, "a listener", limits)  # type: ignore[arg-type]
        self.serve(one, *limits)
        one.start()
        self.listeners.append(one)
        return one

    def serve(self, one: StreamListener, *limits: Limit) -> None:
        """A reload gives the listener a frontend with these limits."""
        one.limits = limits

        def accept(stream: Stream, peer: Any) -> None:
            stream.sock.close()
            if self.defects:
                self.defects -= 1
                raise ZeroDivisionError
            for limit in limits:
                limit.count += 1
            if self.refusals:
                self.refusals -= 1
                self._give_back(limits)
            else:
                self.open.append(limits)

        one.accept = accept

    def end(self, number: int = 0) -> None:
        """A connection ends."""
        self._give_back(self.open.pop(number))

    def _give_back(self, limits: tuple[Limit, ...]) -> None:
        for limit in limits:
            limit.give_back()

    def settle(self) -> None:
        """Turn until nothing is left to do, retries included."""
        self.kernel.settle(self.sockets)
        while self.clock.getDelayedCalls():
            self.clock.advance(RETRY_S)
            self.kernel.settle(self.sockets)

    def waiting_in_vain(self) -> list[StreamListener]:
        """Listeners with somebody in the backlog, and room below each of their limits."""
        return [
            one
            for fd, (one, _) in self.kernel.watched.items()
            if self.sockets[fd].waiting and all(limit.room(1) > 0 for limit in one.limits)
        ]


NUMBERS = st.integers(0, 100)


class Waking(RuleBasedStateMachine):
    """Two frontends with two listeners each, under the process's limit; anything may happen in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.process = Limit(2)
        self.frontends = [Limit(1), Limit(3)]
        self.world = world = World([self.process, *self.frontends])
        for number in range(4):
            limits = (self.process, self.frontends[number % 2], bind := Limit([None, 1, 2, None][number]))
            world.limits.append(bind)
            world.listen(*limits)

    @rule(number=NUMBERS, clients=st.integers(1, 3))
    def come(self, number: int, clients: int) -> None:
        """Clients connect to one of the ports."""
        self.world.sockets[number % 4].waiting += clients

    @precondition(lambda self: self.world.open)
    @rule(number=NUMBERS)
    def leave(self, number: int) -> None:
        """One of the connections ends."""
        self.world.end(number % len(self.world.open))

    @rule()
    def turn(self) -> None:
        """The loop goes round once."""
        self.world.kernel.turn(self.world.sockets)

    @rule(number=NUMBERS, maximum=st.one_of(st.none(), st.integers(1, 4)))
    def reload_limit(self, number: int, maximum: int | None) -> None:
        """One of the limits is changed."""
        limit = self.world.limits[number % len(self.world.limits)]
        limit.maximum = maximum
        limit.wake()

    @rule(number=NUMBERS, frontend=NUMBERS)
    def reload_listener(self, number: int, frontend: int) -> None:
        """A port is given to a frontend, which may be another one."""
        one = self.world.listeners[number % 4]
        self.world.serve(one, self.process, self.frontends[frontend % 2])
        one.resume()

    @rule(number=NUMBERS)
    def stop(self, number: int) -> None:
        """A port is closed."""
        self.world.listeners[number % 4].stop()

    @rule(number=NUMBERS, code=st.sampled_from([errno.EMFILE, errno.ECONNABORTED]))
    def break_accept(self, number: int, code: int) -> None:
        """The next call of accept fails."""
        self.world.sockets[number % 4].errors.append(code)

    @rule(crash=st.booleans())
    def refuse(self, crash: bool) -> None:
        """The next connection is refused at once, or meets a defect."""
        if crash:
            self.world.defects = 1
        else:
            self.world.refusals = 1

    @invariant()
    def counted(self) -> None:
        """No limit is overrun, but by what a lowered one finds."""
        for limit in self.world.limits:
            assert limit.count == sum(limit in limits for limits in self.world.open)

    @precondition(lambda self: not self.world.clock.getDelayedCalls())
    @rule()
    def nobody_waits_in_vain(self) -> None:
        """Once the loop has come to rest, whoever waits in a backlog waits for a limit that is full."""
        self.world.settle()
        assert self.world.waiting_in_vain() == []

    def teardown(self) -> None:
        """However it went, all who wait are taken in the end."""
        while True:
            self.world.settle()
            assert self.world.waiting_in_vain() == []
            if not self.world.open:
                break
            self.world.end()
        assert not any(self.world.sockets[fd].waiting for fd in self.world.kernel.watched)


Waking.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWaking = Waking.TestCase


def test_one_that_ends_costs_one_resumption_of_a_thousand_ports() -> None:
    process = Limit(1)
    world = World([process])
    for _ in range(1000):
        world.listen(process)
    for backlog in world.sockets.values():
        backlog.waiting = 2
    world.settle()
    assert len(world.open) == 1
    before = world.kernel.modified
    world.end()
    world.settle()
    assert len(world.open) == 1
    assert world.kernel.modified - before <= 2, "one is resumed, and pauses again"


def test_a_place_goes_past_ports_where_nobody_waits() -> None:
    process = Limit(1)
    world = World([process])
    for _ in range(3):
        world.listen(process)
    for _ in range(3):  # each takes the place once, and pauses with nobody in its backlog
        world.sockets[0].waiting, world.sockets[1].waiting, world.sockets[2].waiting = 1, 1, 1
        for _ in range(3):
            world.settle()
            world.end()
    world.settle()
    world.sockets[1].waiting = 1
    world.settle()
    world.sockets[2].waiting = 1
    world.settle()
    assert [backlog.waiting for backlog in world.sockets.values()] == [0, 0, 1]
    world.end()
    world.settle()
    assert world.sockets[2].waiting == 0


def test_a_defect_does_not_keep_the_place_from_others() -> None:
    process = Limit(0)
    world = World([process])
    for _ in range(2):
        world.listen(process)
    for backlog in world.sockets.values():
        backlog.waiting = 1
    world.settle()
    world.defects = 1
    process.maximum = 1
    process.wake()
    world.kernel.call(world.kernel.ready.pop(), 0)  # its turn, in the batch in which it was woken
    world.settle()
    assert [backlog.waiting for backlog in world.sockets.values()] == [0, 0]


def test_an_endpoint_of_which_nobody_knows_who_waits_does_not_keep_the_place_from_others() -> None:
    process = Limit(0)
    world = World([process])
    endpoint = EndpointListener(None, "an endpoint", (process,))
    endpoint._admit()
    one = world.listen(process)
    world.sockets[0].waiting = 1
    world.settle()
    process.maximum = 1
    process.wake()
    world.settle()
    assert one in world.listeners
    assert len(world.open) == 1
