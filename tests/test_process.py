"""What sessions share: who exists, when the last one has gone, and whom to blame."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.net.poll import Poller
from twisted_lb.process import Process


class Someone:
    """A session."""

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """Nobody does."""

    def wind_down(self) -> None:
        """Nobody asks."""


def make() -> Process:
    return Process(None, Clock(), None)


def test_the_last_session_to_end_is_told_once() -> None:
    process, told = make(), []
    a, b = Someone(), Someone()
    process.sessions |= {a, b}
    process.when_empty(lambda: told.append("empty"))
    process.session_ended(a)
    assert told == []
    process.session_ended(b)
    assert told == ["empty"]
    process.sessions.add(a)
    process.session_ended(a)
    assert told == ["empty"]


def test_without_a_poller_there_are_no_batches_to_wait_for() -> None:
    told: list[str] = []
    make().after_batch(lambda: told.append("called"))
    assert told == ["called"]


def test_the_first_ten_failures_of_each_plugin_are_logged_and_then_each_hundredth(monkeypatch: Any) -> None:
    events: list[LogEvent] = []
    monkeypatch.setattr(Process, "_log", Logger(observer=events.append))  # type: ignore[arg-type]
    process = make()
    for _ in range(200):
        process.blame(PluginError("a", "raised ValueError()"), "frontend web")
    process.blame(PluginError("b", "raised KeyError()"), "frontend web")
    assert process.plugin_failures == {"a": 200, "b": 1}
    assert [event["count"] for event in events] == [*range(1, 11), 100, 200, 1]
    assert formatEvent(events[-1]) == "frontend web: plugin b failed (1 so far): raised KeyError()"


@pytest.mark.linux
def test_inside_another_reactor_the_time_is_known_also_between_batches() -> None:
    clock = Clock()
    poller = Poller(clock)
    own = Process(None, clock, poller)
    assert own.moment is poller, "our own reactor does everything within a batch"
    poller.wake = lambda: None
    nested = Process(None, clock, poller)
    clock.advance(100)
    assert nested.moment.now == clock.seconds(), "what the other reactor reports comes whenever it likes"
    poller.epoll.close()
