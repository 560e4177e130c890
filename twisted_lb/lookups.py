"""Questions that somebody else answers, and not at once: asked once for all who want to know, and then remembered.

Everything is bounded: how long an answer may take, how many questions are under way and how many wait for their turn,
how many answers are remembered.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

WARN_AGAIN_S = 60.0
WAITING = 1000
"""So many questions may wait for their turn."""


class UnansweredError(Exception):
    """There is no answer, or none in time; the text says why, for the log."""


class Lookups(Generic[K, V]):
    """Answers by key.

    ``ask(key)``: called when the answer is not known; a Deferred of the answer and of how many seconds it holds, 0 for
    an answer that must not be remembered. It is cancelled when nobody waits for it any more, or when it has not fired
    ``timeout_s`` after the question. ``at_once``: most questions under way. ``remembered``: most answers that are kept.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[K], Deferred[tuple[V, float]]],
        timeout_s: float,
        at_once: int,
        remembered: int,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._timeout_s = timeout_s
        self._at_once = at_once
        self._remembered = remembered
        self._known: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._open: dict[K, _Question[V]] = {}
        self._waiting: deque[K] = deque()
        self._under_way = 0
        self._beginning = False

    def get(self, key: K) -> V | Deferred[V]:
        """Return the answer if it is known, else a Deferred that fires with it.

        It fails with what ``ask`` failed with, or with ``UnansweredError``. Who does not want to know any more cancels
        it.
        """
        known = self._known.get(key)
        if known is not None:
            if known[1] > self._clock.seconds():
                self._known.move_to_end(key)
                return known[0]
            del self._known[key]
        question = self._open.get(key)
        if question is None:
            if self._under_way >= self._at_once and len(self._waiting) >= WAITING:
                failed: Deferred[V] = Deferred()
                failed.errback(UnansweredError(f"{WAITING} questions wait already"))
                return failed
            question = self._open[key] = _Question()
            question.deadline = self._clock.callLater(self._timeout_s, self._overdue, key)
            self._waiting.append(key)
        waiter: Deferred[V] = Deferred(lambda waiter: self._left(key, waiter))
        question.waiters[waiter] = None
        self._begin_more()
        return waiter

    def _begin_more(self) -> None:
        """Ask what waits, as far as there is room. What is answered at once makes room, and leads back here."""
        if self._beginning:
            return
        self._beginning = True
        while self._waiting and self._under_way < self._at_once:
            key = self._waiting.popleft()
            self._begin(key, self._open[key])
        self._beginning = False

    def _begin(self, key: K, question: "_Question[V]") -> None:
        self._under_way += 1
        asked = maybeDeferred(self._ask, key)
        question.cancel = asked.cancel
        asked.addCallbacks(self._answered, self._failed, callbackArgs=(key, question), errbackArgs=(key, question))

    def _answered(self, answer: tuple[V, float], key: K, question: "_Question[V]") -> None:
        value, holds_s = answer
        if not self._close(key, question):
            return
        if holds_s > 0 and self._remembered > 0:
            self._known[key] = value, self._clock.seconds() + holds_s
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        for waiter in question.waiters:
            if not waiter.called:  # one may have made another lose interest
                waiter.callback(value)

    def _failed(self, failure: Failure, key: K, question: "_Question[V]") -> None:
        if self._close(key, question):
            question.fail(failure)

    def _overdue(self, key: K) -> None:
        question = self._open[key]
        self._close(key, question)
        question.fail(Failure(UnansweredError(f"no answer within {self._timeout_s:g} s")))
        if question.cancel is not None:
            question.cancel()

    def _left(self, key: K, waiter: Deferred[V]) -> None:
        """Somebody does not want to know any more."""
        question = self._open.get(key)
        if question is None or waiter not in question.waiters:
            return
        del question.waiters[waiter]
        if not question.waiters:
            self._close(key, question)
            if question.cancel is not None:
                question.cancel()

    def _close(self, key: K, question: "_Question[V]") -> bool:
        """Have done with a question; ``False`` if that is so already. The next that waits is asked."""
        if self._open.get(key) is not question:
            return False
        del self._open[key]
        if question.deadline.active():
            question.deadline.cancel()
        if question.cancel is None:
            self._waiting.remove(key)
            return True
        self._under_way -= 1
        self._begin_more()
        return True


class _Question(Generic[V]):
    """A question that is under way, or waits until it may be asked: then there is nothing to ``cancel`` yet.

    ``waiters``: in the order in which they came. There may be as many as connections, all of which leave at once.
    """

    __slots__ = ("cancel", "deadline", "waiters")
    deadline: IDelayedCall

    def __init__(self) -> None:
        self.cancel: Callable[[], None] | None = None
        self.waiters: dict[Deferred[V], None] = {}

    def fail(self, failure: Failure) -> None:
        """Tell all who wait."""
        for waiter in self.waiters:
            if not waiter.called:
                waiter.errback(failure)


class SeldomWarning:
    """Logs that something goes wrong, for example that nobody answers: one line a minute, however often it does."""

    _log = Logger(namespace="twisted_lb.plugins")

    def __init__(self, clock: IReactorTime, name: str) -> None:
        self._clock = clock
        self._name = name
        self._next = float("-inf")
        self._count = 0

    def __call__(self, what: str) -> None:
        """Log it, or count it for the next line."""
        self._count += 1
        now = self._clock.seconds()
        if now >= self._next:
            self._log.warn(
                "{name}: {what} ({count} since the last such line)", name=self._name, what=what, count=self._count
            )
            self._next, self._count = now + WARN_AGAIN_S, 0
