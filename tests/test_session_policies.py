"""Whoever is let on, refused, or sent elsewhere by policies is so as if each had been asked one by one, in order."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tests import asking
from tests.asking import BACKENDS, Outcome, Plugin, all_answer, described, in_order, naively, policies
from tests.sessions.conftest import World, world
from tests.sessions.proxied import ASKED, CLAIMED, V1, reception
from twisted_lb.api import ALLOW, Facts
from twisted_lb.frontend import Routing
from twisted_lb.testing import make_facts

__all__ = ["world"]


def expected(made: Any, proxied: bool, learnt: dict[str, Any]) -> Outcome:
    """What the naive reader thinks."""
    facts = make_facts()
    if proxied:
        facts.source, facts.destination = CLAIMED, ASKED
    early, late = in_order(made)
    first = naively(made, early, facts)
    if first.backend is None or first.final:
        return first._replace(stage="proxy_header" if proxied else "admission")
    facts.learnt.update(learnt)
    then = naively(made, late, facts)
    return then._replace(asked=first.asked + then.asked, stage="policy")


def happened(world: World, made: Any, proxied: bool, learnt: dict[str, Any]) -> Outcome:
    """What a session makes of it."""

    def learn(data: bytes, facts: Facts) -> Any:
        facts.learnt.update(learnt)
        return ALLOW

    asked: list[int] = []
    for one in made:
        if isinstance(one, Plugin):
            one.asked = asked
    backends = {name: world.backend(world.upstream(name)) for name in BACKENDS}
    validators = [SimpleNamespace(validate=learn)] if learnt else []
    frontend = world.frontend(backends["app"], validators, made)
    frontend.routing = Routing(backends)
    before = len(world.records)
    client = world.client(frontend, reception=reception() if proxied else None)
    if len(world.records) == before:
        client.send((V1 if proxied else b"") + b"hello")
    while all_answer(made):
        world.turn()
    served = [name for name in BACKENDS if backends[name].servers[0].connections]
    if served:
        client.leave()
        world.turn()
        return Outcome(served[0], 0, asked)
    (record,) = world.records[before:]
    failed = record.ending.startswith("I")
    number = 0 if failed else int(record.reason.removeprefix("policy ").partition(":")[0])
    return Outcome(None, number, asked, failed=failed, stage=record.stage)


@pytest.mark.parametrize("seed", range(4))
def test_policies_decide_as_if_asked_one_by_one(world: World, seed: int) -> None:
    chance = Random(seed)
    seen = set()
    for _ in range(60):
        made = policies(chance)
        proxied = chance.random() < 0.3
        learnt = asking.learnt(chance) if chance.random() < 0.7 else {}
        wanted = expected(made, proxied, learnt)
        got = happened(world, made, proxied, learnt)
        told = described(made)
        assert (got.backend, got.asked, got.failed) == (wanted.backend, wanted.asked, wanted.failed), told
        if got.backend is None:
            assert (got.by or wanted.by, got.stage) == (wanted.by, wanted.stage), told
        seen.add((got.backend, got.failed))
    assert seen >= {("app", False), (None, False), (None, True)}
