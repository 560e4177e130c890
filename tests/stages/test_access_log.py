"""The access log: one line per record, and a format that fails is blamed."""

from asyncio import CancelledError
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from zope.interface import implementer

from twisted_lb.api import IAccessLog, SessionRecord
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.stages.access_log import AccessLog, record_of
from twisted_lb.testing import FakeServer, make_facts, make_record


@implementer(IAccessLog)
class Format:
    """Formats as it is told to."""

    def __init__(self, make: Callable[[SessionRecord], Any]) -> None:
        self._make = make

    def format(self, record: SessionRecord) -> Any:
        return self._make(record)


class Lines:
    """Where the lines go."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


def access_log(lines: Lines, make: Callable[[SessionRecord], Any]) -> AccessLog:
    return AccessLog(Built("plugin_x", "x", Format(make)), lines)  # type: ignore[arg-type]


def test_each_record_becomes_one_line() -> None:
    log = access_log(lines := Lines(), lambda record: record.ending.encode())
    log.write(make_record(ending="--"))
    log.write(make_record(ending="cD"))
    assert lines.lines == [b"--", b"cD"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, CancelledError])
def test_a_format_that_raises_is_to_blame_and_writes_nothing(error: type[BaseException]) -> None:
    def fail(record: SessionRecord) -> bytes:
        raise error

    log = access_log(lines := Lines(), fail)
    with pytest.raises(PluginError, match=f"access log 'x' raised {error.__name__}") as caught:
        log.write(make_record())
    assert caught.value.plugin == "plugin_x"
    assert lines.lines == []


def test_an_interrupt_is_not_the_format_s_fault() -> None:
    def interrupt(record: SessionRecord) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        access_log(Lines(), interrupt).write(make_record())


@pytest.mark.parametrize("answer", [None, "text", 5])
def test_a_format_that_answers_no_bytes_is_to_blame(answer: object) -> None:
    log = access_log(lines := Lines(), lambda record: answer)
    with pytest.raises(PluginError, match="no bytes"):
        log.write(make_record())
    assert lines.lines == []


def ended(**changes: Any) -> Any:
    fields = {
        "backend": SimpleNamespace(name="app", load=SimpleNamespace(connections=4)),
        "facts": make_facts("192.0.2.1", 40000, "192.0.2.2", 80, "web", "*:80"),
        "frontend": SimpleNamespace(name="web", limit=SimpleNamespace(count=3)),
        "process": SimpleNamespace(limit=SimpleNamespace(count=2)),
        "server": FakeServer("a", connections=5),
        "queue_ms": 6,
        "connect_ms": 7,
        "retries": 1,
        "redispatched": True,
        "queued_behind": 8,
        "bytes_in": 9,
        "bytes_out": 10,
    }
    return SimpleNamespace(**fields | changes)


def test_a_record_says_all_there_is_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.5)
    assert record_of(ended(), NORMAL, 0.25) == make_record(
        time=1000.25,
        queue_ms=6,
        connect_ms=7,
        total_ms=250,
        bytes_in=9,
        bytes_out=10,
        process_connections=2,
        frontend_connections=3,
        backend_connections=4,
        server_connections=5,
        retries=1,
        redispatched=True,
        backend_queue=8,
    )


def test_a_record_of_a_connection_that_reached_no_server_says_so() -> None:
    ending = Ending(Cause.INTERNAL, Stage.POLICY, "it broke", "plugin_x")
    record = record_of(ended(server=None, queue_ms=-1, connect_ms=-1), ending, 0)
    assert (record.server, record.server_connections) == ("<NOSRV>", 0)
    assert (record.ending, record.stage) == ("IR", "policy")
    assert (record.reason, record.plugin) == ("it broke", "plugin_x")
