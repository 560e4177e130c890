"""A reactor of the test's own, which only the test turns: for plugins that talk over the network."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from twisted_lb.api import Runtime

DEADLINE_S = 10.0


class Turning:
    """``reactor``: Twisted's own, with real sockets and real time. ``runtime``: what plugins are built with."""

    def __init__(self) -> None:
        self.reactor: Any = SelectReactor()
        self.runtime = Runtime(self.reactor, self.reactor)

    def until(self, probe: Callable[[], object], what: str) -> None:
        """Turn until ``probe`` answers something true."""
        deadline = time.monotonic() + DEADLINE_S
        while not probe():
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
            self.reactor.iterate(0.01)

    def settle(self, times: int = 20) -> None:
        """Let everything happen that is on its way."""
        for _ in range(times):
            self.reactor.iterate(0)

    def result(self, answer: Any) -> Any:
        """Wait for the result of what may be a Deferred; a failure is returned as its exception."""
        if not isinstance(answer, Deferred):
            return answer
        results: list[Any] = []
        answer.addBoth(results.append)
        self.until(lambda: results, "an answer")
        return getattr(results[0], "value", results[0])

    def close(self) -> None:
        """Close what is still open, and check that nothing was left to happen."""
        left = self.reactor.getDelayedCalls()
        self.reactor.removeAll()
        for wakeup in list(self.reactor._internalReaders):
            wakeup.connectionLost(None)
        assert not left, left


@pytest.fixture
def turning() -> Iterator[Turning]:
    """A reactor that the test turns."""
    made = Turning()
    yield made
    made.close()
