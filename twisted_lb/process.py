"""What all sessions of this process share: clock, poller, timers, the process's limit, who exists, whom to blame."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.net.listening import Place
from twisted_lb.net.namespace import Namespaces
from twisted_lb.net.poll import Poller
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.admission import Limit

LOGGED_ONE_BY_ONE = 10
"""So many complaints of one kind are logged one by one; then each hundredth, so that a flood stays readable."""


class Mortal(Protocol):
    """A session, as far as the process deals with it."""

    def wind_down(self) -> None:
        """The process is stopping: end as soon as nothing is under way."""

    def kill(self, reason: str, cause: Cause = ...) -> None:
        """End now; ``cause`` and ``reason`` are for the record. Without a cause the process wanted it so."""


class Moment(Protocol):
    """What time it is, in the clock's seconds, for the price of an attribute where the reactor is our own."""

    @property
    def now(self) -> float:
        """When the current batch of events began, or now."""


class _ClockMoment:
    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    @property
    def now(self) -> float:
        return self._clock.seconds()


class Process:
    """One process; nothing here assumes that it is the only one.

    ``poller``: ``None`` where there is no epoll; then every connection takes the path of Twisted's own transports.
    ``moment``: what time it is. ``stopping``: connections should end as soon as they can.
    ``plugin_failures``: how often each plugin failed since the start; ``complaints``: how often ``complain`` was
    called for each frontend and server. ``listening``: the places where this process listens for TCP, with how many
    listeners.
    """

    _log = Logger()

    def __init__(self, reactor: Any, clock: IReactorTime, poller: Poller | None) -> None:
        self.reactor = reactor
        self.clock = clock
        self.poller = poller
        # Nested into another reactor, a poller sees a part of what happens: its time may be that of hours ago.
        self.moment: Moment = _ClockMoment(clock) if poller is None or poller.wake is not None else poller
        self.stopping = False
        self.wheel = TimerWheel(clock, poller)
        self.limit = Limit()
        self.namespaces = Namespaces()
        self.listening: Counter[Place] = Counter()
        self.sessions: set[Mortal] = set()
        self.plugin_failures: Counter[str] = Counter()
        self.complaints: Counter[str] = Counter()
        self._when_empty: Callable[[], None] | None = None

    def session_ended(self, session: Mortal) -> None:
        """Forget a session."""
        self.sessions.discard(session)
        if self._when_empty is not None and not self.sessions:
            when_empty, self._when_empty = self._when_empty, None
            when_empty()

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call ``call`` once when the last session has ended."""
        self._when_empty = call

    def after_batch(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the poller has worked off its current batch of events; at once between batches."""
        if self.poller is None:
            call()
        else:
            self.poller.after_batch(call)

    def blame(self, error: PluginError, where: str) -> None:
        """Count and log that a plugin failed; ``where`` names the frontend or backend."""
        self.plugin_failures[error.plugin] += 1
        count = self.plugin_failures[error.plugin]
        if _worth_a_line(count):
            self._log.error(
                "{where}: plugin {plugin} failed ({count} so far): {what}",
                where=where,
                plugin=error.plugin,
                count=count,
                what=error.what,
            )

    def complain(self, where: str, what: str) -> None:
        """Count and log what a connection could not have, or did wrong; ``where`` names the frontend or the server."""
        self.complaints[where] += 1
        count = self.complaints[where]
        if _worth_a_line(count):
            self._log.warn("{where}: {what} ({count} so far)", where=where, what=what, count=count)


def _worth_a_line(count: int) -> bool:
    return count <= LOGGED_ONE_BY_ONE or count % 100 == 0
