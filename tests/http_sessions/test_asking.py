"""Each request is let on, refused, or sent elsewhere as if all policies had been asked one by one, in order."""

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests import asking
from tests.asking import BACKENDS, Outcome, Plugin, all_answer, described, in_order, naively, policies
from tests.http_sessions.conftest import OK
from tests.sessions.proxied import ASKED, CLAIMED, V1, reception
from twisted_lb.api import ALLOW, Facts
from twisted_lb.frontend import HttpFrontend, Routing
from twisted_lb.stages.answers import Answers
from twisted_lb.testing import make_facts
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a%2e HTTP/1.1\r\nHost: x\r\n\r\n",
]


class Validator:
    """Learns the next of some facts at each request."""

    def __init__(self, learnt: list[dict[str, Any]]) -> None:
        self.learnt = list(learnt)

    def validate(self, data: bytes, facts: Facts) -> Any:
        """See ``IValidator``."""
        facts.learnt.update(self.learnt.pop(0))
        return ALLOW


def expected(made: Any, proxied: bool, said: list[bytes], learnt: list[dict[str, Any]]) -> list[Outcome]:
    """What the naive reader thinks of each request, up to the one with which the connection ends."""
    known = make_facts()
    if proxied:
        known.source, known.destination = CLAIMED, ASKED
    early, late = in_order(made)
    first = naively(made, early, known)
    if first.backend is None:
        return [first]
    outcomes = []
    for request, facts_learnt in zip(said, learnt, strict=True):
        facts = make_facts(learnt=facts_learnt, request=request)
        facts.source, facts.destination, facts.backend = known.source, known.destination, known.backend
        outcomes.append(first if first.final else naively(made, late, facts))
        if outcomes[-1].backend is None and not _answered(made, outcomes[-1]):
            break
    asked = first.asked + [number for one in outcomes if one is not first for number in one.asked]
    return [one._replace(asked=asked) for one in outcomes]


def _answered(made: Any, outcome: Outcome) -> bool:
    return outcome.failed or getattr(made[outcome.by - 1], "label", "") != "reject"


def happened(
    world: "HttpWorld", made: Any, proxied: bool, said: list[bytes], learnt: list[dict[str, Any]]
) -> list[Outcome]:
    """What a session makes of them."""
    asked: list[int] = []
    for one in made:
        if isinstance(one, Plugin):
            one.asked = asked
    backends = {name: world.backend(world.upstream(name)) for name in BACKENDS}
    upstreams = dict(zip(BACKENDS, world.upstreams[-2:], strict=True))
    http = HttpFrontend(STRICT, Answers(), {name: ForwardPlan(ForwardSettings()) for name in BACKENDS})
    validators = [Validator(learnt)] if any(learnt) else []
    frontend = world.frontend(backends["app"], validators, made, http=http)
    frontend.routing = Routing(backends)
    before = len(world.records)
    client = world.client(frontend, reception=reception() if proxied else None)
    header = V1 if proxied else b""
    outcomes: list[Outcome] = []
    for request in said:
        if len(world.records) == before + len(outcomes):
            client.send(header + request)
            header = b""
        while all_answer(made):
            world.turn()
        served = [name for name in BACKENDS if backends[name].servers[0].connections]
        for name in served:
            upstreams[name].peers[-1].send(OK)
        record = world.records[before + len(outcomes)]
        failed = record.ending.startswith("I")
        outcomes.append(Outcome(served[0] if served else None, 0, asked, failed=failed))
        if not served and not failed:
            outcomes[-1] = outcomes[-1]._replace(by=int(record.reason.removeprefix("policy ").partition(":")[0]))
        if client.ended():
            break
    client.leave()
    world.turn()
    return outcomes


@pytest.mark.parametrize("seed", range(4))
def test_policies_decide_about_each_request_as_if_asked_one_by_one(world: "HttpWorld", seed: int) -> None:
    chance = Random(seed)
    for _ in range(40):
        made = policies(chance, "http")
        proxied = chance.random() < 0.3
        said = [chance.choice(REQUESTS) for _ in range(3)]
        learns = chance.random() < 0.7
        learnt = [asking.learnt(chance) if learns else {} for _ in said]
        wanted = expected(made, proxied, said, learnt)
        got = happened(world, made, proxied, said, learnt)
        told = described(made), said
        assert [(one.backend, one.asked, one.failed) for one in got] == [
            (one.backend, one.asked, one.failed) for one in wanted
        ], told
        for one, other in zip(got, wanted, strict=True):
            assert one.by in (0, other.by), told
