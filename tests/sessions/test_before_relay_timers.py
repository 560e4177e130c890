"""The timers of the stages before the relay; those of queue and connect are with the queue and the retries."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from twisted_lb.api import ALLOW, NEED_MORE, Stage

if TYPE_CHECKING:
    from tests.sessions.conftest import World

SLOT_S = 0.06


class Undecided:
    """A policy that answers when the test says so, and a validator that always wants more."""

    def __init__(self, stage: Stage = Stage.POLICY) -> None:
        self.stage = stage
        self.answers: list[Deferred[Any]] = []

    def decide(self, facts: Any) -> "Deferred[Any]":
        self.answers.append(Deferred())
        return self.answers[-1]

    def validate(self, data: bytes, facts: Any) -> Any:
        return NEED_MORE


@pytest.mark.parametrize("said", [b"", b"GE"])
def test_a_client_that_says_too_little_in_time_is_ended(world: "World", said: bytes) -> None:
    client = world.client(world.frontend(world.backend(world.upstream()), validators=[Undecided()], inspect=0.5))
    client.send(said)
    world.wait(0.48)
    assert not client.ended()
    world.wait(0.02 + SLOT_S)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.bytes_in) == ("cR", "validation", len(said))
    assert not world.upstreams[0].peers, "nothing goes upstream before every validator has said yes"


def test_bytes_do_not_prolong_the_inspection(world: "World") -> None:
    client = world.client(world.frontend(world.backend(world.upstream()), validators=[Undecided()], inspect=0.5))
    for _ in range(4):
        world.wait(0.12)
        client.send(b"x")
    world.wait(0.02 + SLOT_S)
    assert world.endings() == ["cR"]


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_policy_that_does_not_answer_in_time_is_blamed(world: "World", stage: Stage) -> None:
    client = world.client(world.frontend(world.backend(world.upstream()), policies=[Undecided(stage)], policy=0.5))
    world.wait(0.48)
    assert world.records == []
    world.wait(0.02 + SLOT_S)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.plugin) == ("IR", stage.name.lower(), "policy_test")
    assert "timeouts.policy" in record.reason
    assert world.process.plugin_failures == {"policy_test": 1}
    assert not world.upstreams[0].peers


def test_a_policy_that_keeps_everybody_waiting_does_not_use_up_the_next_one_s_time(world: "World") -> None:
    """Seen: deadlines counted from the moment at which the batch of events had begun, and were over at once."""

    class Slow:
        stage = Stage.POLICY

        def decide(self, facts: Any) -> Any:
            world.clock.advance(0.5)
            return ALLOW

    client = world.client(world.frontend(world.backend(world.upstream()), policies=[Slow(), Undecided()], policy=0.3))
    world.wait(0.28)
    assert not client.ended()
    world.wait(0.02 + SLOT_S)
    assert client.ended()


def test_each_policy_has_the_timer_to_itself(world: "World") -> None:
    policy = Undecided()
    world.client(world.frontend(world.backend(world.upstream()), policies=[policy, policy, policy], policy=0.5))
    for answered in range(3):
        world.wait(0.4)
        assert world.records == [], f"the timer of policy {answered} was cut short"
        policy.answers[answered].callback(ALLOW)
        world.turn()
    assert world.upstreams[0].peers


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_no_timer_of_an_earlier_stage_goes_on_in_a_later_one(world: "World", stage: Stage) -> None:
    policy = Undecided(stage)
    client = world.client(world.frontend(world.backend(world.upstream()), policies=[policy], policy=0.5))
    policy.answers[0].callback(ALLOW)
    world.wait(10)
    client.send(b"still here")
    assert world.upstreams[0].peers[0].read() == b"still here"
    assert len(world.process.wheel) == 0
    assert world.records == []


def test_without_timers_every_stage_waits_for_ever(world: "World") -> None:
    policy = Undecided()
    a = world.upstream("a", "silence", maxconn=1)
    frontend = world.frontend(world.backend(a), policies=[policy])
    world.client(frontend)
    world.clock.advance(1e6)
    policy.answers[0].callback(ALLOW)
    world.client(frontend)
    policy.answers[1].callback(ALLOW)
    world.clock.advance(1e6)
    a.answer()
    world.clock.advance(1e6)
    world.turn()
    assert len(a.peers) == 1
    assert world.records == []
