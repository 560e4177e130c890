"""How a ``Poller`` gets its turns: inside our own reactor, or nested into any other one."""

import time
from typing import Any, ClassVar

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python import log
from zope.interface import implementer

from twisted_lb.net.poll import BATCH, Poller

_EPOCH = time.time() - time.monotonic()


def _steady_seconds() -> float:
    return time.monotonic() + _EPOCH


class LBReactor(EPollReactor):
    """Twisted's epoll reactor, which tells our watchers of their events without a detour.

    Its clock looks like the wall clock, as some code expects, and is the monotonic one: a step of the wall clock must
    not end ten thousand idle connections at once, nor let none of them end for an hour.
    """

    # One more private name of Twisted's than one would like, ``_poller``; a test tells when it goes.
    _poller: Any
    seconds = staticmethod(_steady_seconds)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.poller = Poller(self, self._poller)

    def doPoll(self, timeout: float | None) -> None:
        """Wait at most ``timeout`` seconds (``None``: for ever) and work off one batch of events."""
        if self.poller.ready:
            timeout = 0
        elif timeout is None:
            timeout = -1
        try:
            events = self._poller.poll(timeout, BATCH)
        except InterruptedError:
            return
        self.poller.dispatch(events, self._foreign)

    doIteration = doPoll

    def _foreign(self, fd: int, event: int) -> None:
        selectable = self._selectables.get(fd)
        if selectable is not None:
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)


def install() -> None:
    """Make an ``LBReactor`` the process's reactor; raises ReactorAlreadyInstalledError if there is one."""
    from twisted.internet.main import installReactor

    installReactor(LBReactor())


@implementer(IReactorTime)
class MonotonicTime:
    """The monotonic clock with another reactor's ``callLater``."""

    seconds = staticmethod(time.monotonic)

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def callLater(self, delay: float, callable: Any, *args: object, **kwargs: object) -> IDelayedCall:
        """See ``IReactorTime``."""
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Any:
        """See ``IReactorTime``."""
        return self._reactor.getDelayedCalls()


@implementer(IReadDescriptor)
class NestedPoller:
    """Lets another reactor turn a ``Poller``: an epoll is itself readable while it has events."""

    _TURNS: ClassVar[int] = 4

    def __init__(self, reactor: IReactorFDSet, clock: IReactorTime) -> None:
        self.poller = Poller(clock)
        self._clock = clock
        self._again: IDelayedCall | None = None
        self.poller.wake = self._wake
        reactor.addReader(self)

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self.poller.epoll.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "twisted_lb"

    def doRead(self) -> None:
        """Work off what is there, a few batches at most, so that the reactor's own descriptors get their turn."""
        self._again = None
        for _ in range(self._TURNS):
            events = self.poller.epoll.poll(0, BATCH)
            if not events and not self.poller.ready:
                return
            self.poller.dispatch(events)
        if self.poller.ready:
            self._wake()

    def _wake(self) -> None:
        if self._again is None:
            self._again = self._clock.callLater(0, self.doRead)

    def connectionLost(self, reason: Any) -> None:
        """See ``IReadDescriptor``; the reactor is going away."""


def clock_of(reactor: Any) -> IReactorTime:
    """The clock for everything that is timed: monotonic, whatever the reactor."""
    return reactor if isinstance(reactor, LBReactor) else MonotonicTime(reactor)


def poller_of(reactor: Any) -> Poller:
    """The poller that belongs to ``reactor``; on a reactor of another kind it is nested at the first call."""
    if isinstance(reactor, LBReactor):
        return reactor.poller
    nested: NestedPoller | None = getattr(reactor, "_twisted_lb_nested", None)
    if nested is None:
        nested = NestedPoller(reactor, clock_of(reactor))
        reactor._twisted_lb_nested = nested
    return nested.poller


__all__ = ["LBReactor", "MonotonicTime", "NestedPoller", "clock_of", "install", "poller_of"]
