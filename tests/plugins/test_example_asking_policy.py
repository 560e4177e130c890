"""The policy of ``docs/how-to/write-a-plugin.md`` that asks somebody else works as the page shows it."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.plugins.shown import HOW_TO, shows
from tests.turning import Origin, Turning, says, turning
from twisted_lb.api import ALLOW, Deny, IPolicy, UnansweredError
from twisted_lb.testing import PolicyContract, make_facts

__all__ = ["turning"]

EXAMPLE = HOW_TO / "example-asking-policy"


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds the example."""
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.fixture
def origin(turning: Turning) -> Iterator[Origin]:
    """A service that finds 192.0.2.66 bad."""
    made = Origin(turning, lambda asked: says(200, b"99" if b"192.0.2.66" in asked else b"7"))
    yield made
    made.close()
    turning.until(lambda: not made.connections, "the end of the connections")
    turning.settle()


def policy(turning: Turning, origin: Origin) -> IPolicy:
    module: Any = importlib.import_module("lb_reputation")
    made: IPolicy = module.Reputation(module.ReputationOptions(url=origin.url), turning.runtime)
    return made


class TestContract(PolicyContract):
    """What every policy promises."""

    @pytest.fixture(autouse=True)
    def _around(self, turning: Turning, origin: Origin) -> None:
        self.turning, self.origin = turning, origin

    def make_policy(self) -> IPolicy:
        return policy(self.turning, self.origin)

    def settle(self, answer: Deferred[Any]) -> Any:
        return self.turning.result(answer)


def test_the_page_shows_the_module_as_it_is() -> None:
    assert shows((HOW_TO / "write-a-plugin.md").read_text(), EXAMPLE / "lb_reputation.py")


def test_it_does_what_the_page_says(turning: Turning, origin: Origin) -> None:
    judge = policy(turning, origin)
    for source, expected in (("192.0.2.1", ALLOW), ("192.0.2.66", Deny("its score is 99")), ("192.0.2.1", ALLOW)):
        facts = make_facts(source)
        assert turning.result(Deferred.fromCoroutine(judge.decide(facts))) == expected
        assert facts.learnt["reputation.score"] == (99 if source.endswith("66") else 7)
    assert len(origin.requests) == 2
    origin.answer = lambda asked: says(500)
    assert isinstance(turning.result(Deferred.fromCoroutine(judge.decide(make_facts("192.0.2.9")))), UnansweredError)
