"""``first`` fills servers in the configuration's order."""

from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IBalancer, Options
from twisted_lb.testing import BalancerContract, FakeServer, make_facts
from twisted_lb_plugins.balance_first import build


class TestContract(BalancerContract, SynchronousTestCase):
    """``first`` keeps what every balancer promises."""

    def make_balancer(self) -> IBalancer:
        return build(Options())


def test_the_first_candidate_is_chosen_whatever_its_load() -> None:
    a, b = FakeServer("a", connections=9, maxconn=10), FakeServer("b", weight=256)
    balancer = build(Options())
    assert [balancer.choose([a, b], make_facts()) for _ in range(3)] == [a, a, a]


def test_the_next_one_is_chosen_when_the_first_is_full() -> None:
    b, c = FakeServer("b"), FakeServer("c")
    assert build(Options()).choose([b, c], make_facts()) is b
