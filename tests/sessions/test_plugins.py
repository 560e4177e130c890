"""A plugin that breaks its contract ends its connection, is counted and named in the log; the next connection works."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from twisted_lb.api import ALLOW, NEED_MORE, Deny, NeedMore, PluginError, Stage
from twisted_lb.plugin_host import Built
from twisted_lb.stages.access_log import AccessLog
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_transports import TransportRelay

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, World


class OopsError(Exception):
    """What a plugin raises."""


def raises(*_: Any) -> Any:
    raise OopsError("oops")


class HostileError(Exception):
    """What the worst of plugins raises or answers: nothing may be asked of it."""

    def _refuse(self, *_: object) -> Any:
        raise OopsError("do not ask")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = _refuse


def raises_hostile(*_: Any) -> Any:
    raise HostileError


def answers_hostile(*_: Any) -> Any:
    return HostileError()


async def as_coroutine(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


def lines(log: list[LogEvent]) -> str:
    return "\n".join(formatEvent(event) for event in log)


def assert_denied(world: "World", client: "Peer", stage: str, code: str, plugin: str, log: list[LogEvent]) -> None:
    world.turn()
    assert client.ended()
    assert len(world.records) == 1
    record = world.records[0]
    assert (record.ending, record.stage, record.plugin) == (code, stage, plugin)
    assert world.process.plugin_failures == {plugin: 1}
    assert f"plugin {plugin} failed" in lines(log)
    assert not [peer for upstream in world.upstreams for peer in upstream.peers], "it went upstream all the same"


def assert_next_works(world: "World", client: "Peer") -> None:
    client.send(b"hello")
    assert world.upstreams[0].peers[-1].read() == b"hello"
    world.end(client, world.upstreams[0].peers[-1])
    assert world.endings()[-1] == "--"


class Once:
    """As ``bad`` for the first connection, well behaved ever after; in all roles."""

    def __init__(self, bad: Any, good: Any = ALLOW, stage: Stage = Stage.POLICY) -> None:
        self.bad = bad
        self.good = good
        self.stage = stage
        self.calls = 0

    def answer(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.bad(*arguments) if self.calls == 1 else self.good

    decide = validate = answer

    def choose(self, candidates: Any, facts: Any) -> Any:
        self.calls += 1
        return self.bad(candidates, facts) if self.calls == 1 else candidates[0]


# Balancers


@pytest.mark.parametrize(
    "bad",
    [
        raises,
        raises_hostile,
        answers_hostile,
        lambda candidates, facts: None,
        lambda candidates, facts: "a",
        lambda candidates, facts: candidates,
        lambda candidates, facts: Deferred(),
        lambda candidates, facts: SimpleNamespace(name="a", weight=1, connections=0, maxconn=0),
    ],
)
def test_a_balancer_that_raises_or_chooses_nobody(world: "World", log: list[LogEvent], bad: Any) -> None:
    frontend = world.frontend(world.backend(world.upstream(), balancer=Once(bad)))
    assert_denied(world, world.client(frontend), "balance", "IC", "balance_test", log)
    assert world.records[0].server == "<NOSRV>"
    assert_next_works(world, world.client(frontend))


def test_a_balancer_that_chooses_a_full_server(world: "World", log: list[LogEvent]) -> None:
    a, b = world.upstream("a", maxconn=1), world.upstream("b")
    balancer = SimpleNamespace(choose=lambda candidates, facts: a.server)
    frontend = world.frontend(world.backend(a, b, balancer=balancer))
    world.client(frontend)
    second = world.client(frontend)
    assert second.ended()
    assert world.endings() == ["IC"]
    assert a.server.connections == 1


def test_a_balancer_that_fails_during_a_redispatch(world: "World", log: list[LogEvent]) -> None:
    a, b = world.upstream("a", "refuse"), world.upstream("b")
    chosen: list[Any] = []

    def choose(candidates: Any, facts: Any) -> Any:
        chosen.append(candidates[0])
        return candidates[0] if len(chosen) == 1 else raises()

    backend = world.backend(a, b, retries=1, balancer=SimpleNamespace(choose=choose))
    client = world.client(world.frontend(backend))
    assert_denied(world, client, "connect", "IC", "balance_test", log)
    assert a.server.connections == 0


# Policies


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
@pytest.mark.parametrize(
    "bad",
    [
        raises,
        raises_hostile,
        answers_hostile,
        lambda facts: fail(HostileError()),
        lambda facts: None,
        lambda facts: True,
        lambda facts: NEED_MORE,
        lambda facts: as_coroutine(OopsError("oops")),
        lambda facts: as_coroutine(None),
        lambda facts: fail(OopsError("oops")),
        lambda facts: succeed(None),
    ],
)
def test_a_policy_that_raises_or_answers_nonsense(world: "World", log: list[LogEvent], bad: Any, stage: Stage) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(bad, stage=stage)])
    assert_denied(world, world.client(frontend), stage.name.lower(), "IR", "policy_test", log)
    assert_next_works(world, world.client(frontend))


@pytest.mark.parametrize("late", [OopsError("oops"), None, "yes"])
def test_a_policy_that_answers_nonsense_later(world: "World", log: list[LogEvent], late: Any) -> None:
    answer: Deferred[Any] = Deferred()
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(lambda facts: answer)])
    client = world.client(frontend)
    assert world.records == []
    answer.errback(late) if isinstance(late, Exception) else answer.callback(late)
    assert_denied(world, client, "policy", "IR", "policy_test", log)
    assert_next_works(world, world.client(frontend))


def test_a_policy_that_answers_after_its_deadline(world: "World", log: list[LogEvent]) -> None:
    answer: Deferred[Any] = Deferred()
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(lambda facts: answer)], policy=0.5)
    client = world.client(frontend)
    world.wait(0.6)
    assert_denied(world, client, "policy", "IR", "policy_test", log)
    answer.callback(ALLOW)
    world.turn()
    assert world.endings() == ["IR"]
    assert not world.upstreams[0].peers
    assert_next_works(world, world.client(frontend))


@pytest.mark.parametrize("late", [ALLOW, Deny("no"), None, OopsError("oops")])
def test_a_policy_that_answers_after_the_client_left(world: "World", log: list[LogEvent], late: Any) -> None:
    answer: Deferred[Any] = Deferred()
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(lambda facts: answer)])
    client = world.client(frontend)
    client.leave()
    assert world.endings() == ["CR"]
    answer.errback(late) if isinstance(late, Exception) else answer.callback(late)
    world.turn()
    assert world.endings() == ["CR"]
    assert not world.process.plugin_failures
    assert_next_works(world, world.client(frontend))


def test_a_policy_whose_canceller_raises(world: "World", log: list[LogEvent]) -> None:
    answer: Deferred[Any] = Deferred(raises)
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(lambda facts: answer)], policy=0.5)
    client = world.client(frontend)
    world.wait(0.6)
    assert client.ended()
    assert world.endings() == ["IR"]
    assert_next_works(world, world.client(frontend))


def test_a_policy_that_cancels_its_own_answer(world: "World", log: list[LogEvent]) -> None:
    answer: Deferred[Any] = Deferred()
    frontend = world.frontend(world.backend(world.upstream()), policies=[Once(lambda facts: answer)])
    client = world.client(frontend)
    answer.cancel()
    assert_denied(world, client, "policy", "IR", "policy_test", log)


@pytest.mark.parametrize("verdict", [ALLOW, Deny("closed today")])
def test_an_answer_that_waits_for_another_one_is_heard_in_the_end(world: "World", verdict: Any) -> None:
    # A Deferred that had fired and waited for another one was taken for an answer of None.
    other: Deferred[Any] = Deferred()
    policy = SimpleNamespace(stage=Stage.POLICY, decide=lambda facts: succeed(None).addCallback(lambda _: other))
    client = world.client(world.frontend(world.backend(world.upstream()), policies=[policy]))
    assert world.records == []
    other.callback(verdict)
    world.turn()
    assert not world.process.plugin_failures
    if verdict is ALLOW:
        assert_next_works(world, client)
    else:
        assert client.ended()
        record = world.records[0]
        assert (record.ending, record.stage, record.reason, record.plugin) == (
            "PR",
            "policy",
            "policy 1: closed today",
            "",
        )


# Validators


@pytest.mark.parametrize(
    "bad",
    [
        raises,
        raises_hostile,
        answers_hostile,
        lambda data, facts: None,
        lambda data, facts: True,
        lambda data, facts: succeed(ALLOW),
    ],
)
def test_a_validator_that_raises_or_answers_nonsense(world: "World", log: list[LogEvent], bad: Any) -> None:
    frontend = world.frontend(world.backend(world.upstream()), validators=[Once(bad)])
    client = world.client(frontend)
    client.send(b"hello")
    assert_denied(world, client, "validation", "IR", "validation_test", log)
    assert_next_works(world, world.client(frontend))


def test_a_validator_that_is_never_satisfied_gets_64_kib_at_most(world: "World") -> None:
    asked: list[int] = []

    def validate(data: bytes, facts: Any) -> Any:
        asked.append(len(data))
        return NEED_MORE

    validator = SimpleNamespace(validate=validate)
    client = world.client(world.frontend(world.backend(world.upstream()), validators=[validator]))
    for _ in range(64):
        client.send(b"x" * 1024)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage) == ("PR", "validation")
    assert max(asked) == 64 * 1024


def test_a_validator_is_not_asked_again_before_as_much_has_come_as_it_needs(world: "World") -> None:
    asked: list[int] = []

    def validate(data: bytes, facts: Any) -> Any:
        asked.append(len(data))
        return ALLOW if len(data) >= 10 else NeedMore(10)

    upstream = world.upstream()
    client = world.client(world.frontend(world.backend(upstream), validators=[SimpleNamespace(validate=validate)]))
    for _ in range(12):
        client.send(b"x")
    assert asked == [1, 10]
    assert upstream.peers[0].read() == b"x" * 12
    world.end(client, upstream.peers[0])


# Access logs and observers


@pytest.mark.parametrize("bad", [raises, raises_hostile, answers_hostile, lambda record: "text", lambda record: None])
def test_an_access_log_that_raises_or_answers_nonsense_loses_its_record_alone(
    world: "World", log: list[LogEvent], bad: Any
) -> None:
    written: list[bytes] = []
    formats = Once(bad, b"a line")
    built: Built[Any] = Built("access_log_test", "test", SimpleNamespace(format=formats.answer))
    lines_of: Any = SimpleNamespace(write=written.append)
    frontend = world.frontend(world.backend(world.upstream()), access_log=AccessLog(built, lines_of))
    for _ in range(2):
        client = world.client(frontend)
        client.send(b"hello")
        assert world.upstreams[0].peers[-1].read() == b"hello"
        world.end(client, world.upstreams[0].peers[-1])
    assert written == [b"a line"]
    assert world.process.plugin_failures == {"access_log_test": 1}
    assert "plugin access_log_test failed" in lines(log)


class Observer:
    """Notes what it is told, and raises in the methods named."""

    error: Exception = OopsError("oops")

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.told: list[str] = []

    def _note(self, name: str) -> None:
        self.told.append(name)
        if name in self.broken:
            raise self.error

    def session_opened(self, facts: Any) -> None:
        self._note("session_opened")

    def session_routed(self, facts: Any, backend: str, server: Any) -> None:
        self._note("session_routed")

    def session_closed(self, facts: Any, record: Any) -> None:
        self._note("session_closed")


ALL_EVENTS = ["session_opened", "session_routed", "session_closed"]


@pytest.mark.parametrize("error", [OopsError, HostileError])
def test_an_observer_that_raises_harms_neither_the_connection_nor_other_observers(
    world: "World", log: list[LogEvent], error: type[Exception]
) -> None:
    broken, sound = Observer(*ALL_EVENTS), Observer()
    broken.error = error()
    client = world.client(world.frontend(world.backend(world.upstream()), observers=[broken, sound]))
    assert_next_works(world, client)
    assert broken.told == sound.told == ALL_EVENTS
    assert world.process.plugin_failures == {"observer_test": 3}
    for event in ALL_EVENTS:
        assert event in lines(log)


def test_an_observer_is_told_of_the_end_of_a_connection_that_was_denied(world: "World") -> None:
    observer = Observer()
    policy = SimpleNamespace(stage=Stage.ADMISSION, decide=lambda facts: Deny("no"))
    world.client(world.frontend(world.backend(world.upstream()), policies=[policy], observers=[observer]))
    assert observer.told == ["session_opened", "session_closed"]


def test_a_flood_of_failures_is_counted_in_full_and_logged_now_and_then(world: "World", log: list[LogEvent]) -> None:
    policy = SimpleNamespace(stage=Stage.ADMISSION, decide=raises)
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy])
    for _ in range(250):
        world.client(frontend)
    assert world.process.plugin_failures == {"policy_test": 250}
    assert lines(log).count("plugin policy_test failed") == 12


def test_a_plugin_error_names_the_plugin() -> None:
    error = PluginError("policy_test", "did something")
    assert str(error) == "plugin 'policy_test' did something"


def test_a_defect_in_making_the_record_loses_the_record_alone(
    world: "World", log: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: the session stayed among the living, and a graceful stop waited for it for ever."""
    upstream = world.upstream()
    client = world.client(world.frontend(world.backend(upstream)))
    monkeypatch.setattr("twisted_lb.session_endings.record_of", raises)
    world.end(client, upstream.peers[0])
    assert world.records == []
    assert "a record is lost" in lines(log)
    world.assert_empty()


def test_a_defect_in_a_stage_ends_that_connection_at_once(
    world: "World", log: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: a defect at the start of the relay told nobody, and the connection sat there until it had been idle."""
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream))
    with monkeypatch.context() as patch:
        for relay in (StreamRelay, TransportRelay):
            patch.setattr(relay, "start", raises)
        client = world.client(frontend)
        assert client.ended()
    assert upstream.peers[0].ended()
    assert (world.records[0].ending, world.records[0].reason) == ("ID", "a defect")
    assert "a defect in stage relay" in lines(log)
    assert_next_works(world, world.client(frontend))
