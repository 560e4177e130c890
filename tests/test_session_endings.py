"""How clients are refused before the relay: with a farewell, a reset, nothing at all, or after a long wait."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.sessions.conftest import World, world
from twisted_lb.api import ALLOW, ALLOW_FINALLY, NEED_MORE, Deny, Stage
from twisted_lb.stages.lingering import LOOK_S
from twisted_lb.verdicts import Tarpit

__all__ = ["world"]

STAGES = pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])


def policy(answer: Any, stage: Stage = Stage.POLICY, **attributes: Any) -> Any:
    """A policy that always says the same, and counts how often."""
    made = SimpleNamespace(stage=stage, asked=0, **attributes)

    def decide(facts: Any) -> Any:
        made.asked += 1
        return answer

    made.decide = decide
    return made


def validator(answer: Any) -> Any:
    return SimpleNamespace(validate=lambda data, facts: answer)


# Farewells


def test_a_validator_s_farewell_is_heard_and_then_the_end(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), validators=[validator(Deny("no", farewell=b"alert"))])
    client = world.client(frontend)
    client.send(b"hello")
    assert client.read() == b"alert"
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.reason) == ("PR", "validation", "validator test: no")
    assert record.bytes_in == 5
    client.leave()
    world.assert_empty()


@STAGES
def test_a_policy_s_farewell_is_heard_too(world: World, stage: Stage) -> None:
    frontend = world.frontend(
        world.backend(world.upstream()), policies=[policy(Deny("closed", farewell=b"bye"), stage)]
    )
    client = world.client(frontend)
    assert client.read() == b"bye"
    assert client.ended()
    client.leave()
    assert world.endings() == ["PR"]


def test_who_hears_a_farewell_keeps_its_place_until_it_has_left(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Deny("closed", farewell=b"bye"))])
    client = world.client(frontend)
    assert world.records[0].ending == "PR"
    assert [limit.count for limit in world.limits] == [1, 1, 1]
    client.read()
    client.leave()
    world.assert_empty()


def test_who_does_not_leave_is_sent_away(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Deny("closed", farewell=b"bye"))])
    client = world.client(frontend)
    assert client.read() == b"bye"
    world.wait(LOOK_S * 4)
    world.assert_empty()


def test_who_goes_on_talking_is_not_listened_to_for_ever(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Deny("closed", farewell=b"bye"))])
    client = world.client(frontend)
    for _ in range(40):
        if not world.process.sessions:
            break
        client.send(b"but")
        world.wait(1)
    assert client.read() == b"bye"
    world.assert_empty()


def test_the_last_connection_has_not_ended_before_its_farewell_is_heard(world: World) -> None:
    """Else a graceful stop would cut it off."""
    empty: list[bool] = []
    answer: Any = Deferred()
    policies = [policy(answer)]
    client = world.client(world.frontend(world.backend(world.upstream()), policies=policies))
    world.process.when_empty(lambda: empty.append(True))
    answer.callback(Deny("closed", farewell=b"bye"))
    world.turn()
    assert empty == []
    assert client.read() == b"bye"
    client.leave()
    world.turn()
    assert empty == [True]


def test_a_stop_does_not_wait_for_who_hears_a_farewell(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Deny("closed", farewell=b"bye"))])
    world.client(frontend)
    (left,) = world.process.sessions
    left.wind_down()
    left.kill("the process stops")
    world.assert_empty()
    assert world.endings() == ["PR"]


# Ways to part


@STAGES
@pytest.mark.parametrize("how", ["close", "reset", "drop"])
def test_each_way_to_part_ends_the_connection(world: World, stage: Stage, how: Any) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Deny("closed", how=how), stage)])
    client = world.client(frontend)
    assert client.ended()
    assert world.records[0].reason == "policy 1: closed"
    world.assert_empty()


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
def test_validators_may_choose_too(world: World, how: Any) -> None:
    frontend = world.frontend(world.backend(world.upstream()), validators=[validator(Deny("no", how=how))])
    client = world.client(frontend)
    client.send(b"hello")
    assert client.ended()
    world.assert_empty()


# Tarpit


@STAGES
def test_who_is_held_hears_nothing_until_it_is_over(world: World, stage: Stage) -> None:
    frontend = world.frontend(
        world.backend(world.upstream()), policies=[policy(ALLOW), policy(Tarpit("slow down"), stage)], tarpit=2
    )
    client = world.client(frontend)
    client.send(b"hello")
    world.wait(1.8)
    assert world.records == []
    assert not client.ended()
    world.wait(0.4)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.reason) == ("PT", "tarpit", "policy 2: slow down")
    assert not world.upstreams[0].peers
    world.assert_empty()


@STAGES
def test_who_leaves_the_tarpit_is_not_kept(world: World, stage: Stage) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Tarpit("slow"), stage)], tarpit=60)
    world.client(frontend).leave()
    world.turn()
    assert world.endings() == ["CT"]
    world.assert_empty()


def test_who_talks_in_the_tarpit_is_listened_to_for_a_while_at_most(world: World) -> None:
    """To hear that a client leaves, some transports have to be read."""
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Tarpit("slow"))], tarpit=2)
    client = world.client(frontend)
    for _ in range(40):
        client.send(bytes(10_000))
    world.wait(2.2)
    assert client.ended()
    assert world.records[0].bytes_in <= 2 * 65536


def test_a_stop_ends_the_tarpit(world: World) -> None:
    frontend = world.frontend(world.backend(world.upstream()), policies=[policy(Tarpit("slow"))], tarpit=60)
    world.client(frontend)
    (held,) = world.process.sessions
    held.kill("the process stops")
    assert world.endings() == ["KT"]


# Final words


@STAGES
def test_a_final_word_lets_past_all_that_follow(world: World, stage: Stage) -> None:
    last = policy(Deny("no"))
    upstream = world.upstream()
    frontend = world.frontend(
        world.backend(upstream), policies=[policy(ALLOW_FINALLY, stage), policy(Deny("no"), stage), last]
    )
    client = world.client(frontend)
    client.send(b"hello")
    assert upstream.peers[0].read() == b"hello"
    assert last.asked == 0
    world.end(client, upstream.peers[0])


def test_what_only_refuses_is_asked_before_a_byte_is_looked_at_and_not_twice(world: World) -> None:
    source = policy(ALLOW, Stage.ADMISSION, only_refuses=True)
    content = policy(ALLOW, Stage.POLICY, only_refuses=True)
    upstream = world.upstream()
    frontend = world.frontend(
        world.backend(upstream), validators=[validator(ALLOW)], policies=[content, source], inspect=5
    )
    client = world.client(frontend)
    assert (source.asked, content.asked) == (1, 0)
    client.send(b"hello")
    assert (source.asked, content.asked) == (1, 1)
    world.end(client, upstream.peers[0])


def test_its_number_is_that_of_the_configuration(world: World) -> None:
    frontend = world.frontend(
        world.backend(world.upstream()),
        policies=[
            policy(ALLOW, only_refuses=True),
            policy(Deny("", how="close"), Stage.ADMISSION, only_refuses=True, label="deny"),
        ],
    )
    assert world.client(frontend).ended()
    record = world.records[0]
    assert (record.stage, record.reason) == ("admission", "policy 2: deny")


# Who says too little


@pytest.mark.parametrize("said", [b"", b"x"])
@pytest.mark.parametrize("passes", [False, True])
def test_who_says_too_little_is_refused_or_let_on(world: World, said: bytes, passes: bool) -> None:
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream), validators=[validator(NEED_MORE)], inspect=1)
    frontend.lets_undecided = passes
    client = world.client(frontend)
    if said:
        client.send(said)
    world.wait(1.2)
    if passes:
        client.send(b"more")
        assert upstream.peers[0].read() == said + b"more"
        world.end(client, upstream.peers[0])
        assert world.endings() == ["--"]
    else:
        assert client.ended()
        assert world.endings() == ["cR"]
        assert not upstream.peers


def test_who_is_let_on_is_still_judged_by_those_who_can_tell(world: World) -> None:
    frontend = world.frontend(
        world.backend(world.upstream()), validators=[validator(NEED_MORE), validator(Deny("no"))], inspect=1
    )
    frontend.lets_undecided = True
    client = world.client(frontend)
    client.send(b"x")
    world.wait(1.2)
    assert client.ended()
    assert world.endings() == ["PR"]


def test_one_that_fails_at_the_end_of_its_time_denies(world: World) -> None:
    answers = [NEED_MORE, None]
    broken = SimpleNamespace(validate=lambda data, facts: answers.pop(0))
    frontend = world.frontend(world.backend(world.upstream()), validators=[broken], inspect=1)
    frontend.lets_undecided = True
    client = world.client(frontend)
    client.send(b"x")
    world.wait(1.2)
    assert client.ended()
    assert world.endings() == ["IR"]
