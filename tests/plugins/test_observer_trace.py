"""``trace`` logs each step of a connection's life."""

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IObserver, Options
from twisted_lb.testing import FakeServer, ObserverContract, make_facts, make_record
from twisted_lb_plugins.observer_trace import build


class TestContract(ObserverContract, SynchronousTestCase):
    """``trace`` keeps what every observer promises."""

    def make_observer(self) -> IObserver:
        return build(Options())


def test_opening_routing_and_closing_are_logged_at_debug() -> None:
    observer, facts = build(Options()), make_facts()
    with capturedLogs() as events:
        observer.session_opened(facts)
        observer.session_routed(facts, "app", FakeServer("a"))
        observer.session_closed(facts, make_record())
    assert [formatEvent(event) for event in events] == [
        "web: 192.0.2.1:40000 connected to 192.0.2.2:80",
        "web: 192.0.2.1:40000 goes to app/a",
        "web: 192.0.2.1:40000 ended as -- in relay after 250 ms",
    ]
    assert {event["log_level"] for event in events} == {LogLevel.debug}
    assert {event["log_namespace"] for event in events} == {"twisted_lb_plugins.observer_trace.Trace"}


def test_a_server_that_goes_down_is_logged_at_debug_with_the_reason() -> None:
    with capturedLogs() as events:
        build(Options()).server_state_changed("app", FakeServer("a", failures=3), "down", "{refused}")
    assert [(formatEvent(event), event["log_level"]) for event in events] == [
        ("app/a is down: {refused} (3 attempts to connect failed so far)", LogLevel.debug)
    ]


def test_a_blank_or_a_brace_in_a_path_does_not_break_the_line() -> None:
    with capturedLogs() as events:
        build(Options()).session_opened(make_facts("unix:/a {b}"))
    assert formatEvent(events[0]).startswith("web: unix:/a {b} connected")
