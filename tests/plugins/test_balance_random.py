"""``random`` chooses the less loaded of a few servers drawn by weight."""

from collections import Counter
from random import Random

import pytest
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import ConfigError, IBalancer
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import BalancerContract, FakeServer, make_facts
from twisted_lb_plugins.balance_random import BestOfDraws, RandomOptions, build


class TestContract(BalancerContract, SynchronousTestCase):
    """``random`` keeps what every balancer promises."""

    def make_balancer(self) -> IBalancer:
        return build(RandomOptions())


def counts(draws: int, servers: list[FakeServer]) -> Counter[str]:
    balancer = BestOfDraws(draws, Random(1))
    return Counter(balancer.choose(servers, make_facts()).name for _ in range(4000))


def test_one_draw_follows_the_weights() -> None:
    share = counts(1, [FakeServer("a", weight=3), FakeServer("b", weight=1)])["a"] / 4000
    assert 0.72 < share < 0.78


def test_of_two_draws_the_less_loaded_wins() -> None:
    # "a" is chosen only when both draws are "a": once in four times.
    share = counts(2, [FakeServer("a", connections=1), FakeServer("b")])["a"] / 4000
    assert 0.22 < share < 0.28


def test_load_counts_in_relation_to_the_weight() -> None:
    servers = [FakeServer("a", weight=10, connections=5), FakeServer("b", weight=10, connections=6)]
    assert counts(16, servers)["a"] > 3990
    servers[0].weight = 5
    assert counts(16, servers)["b"] > 3900


def test_two_draws_keep_loads_closer_together_than_one() -> None:
    def spread(draws: int) -> int:
        servers = [FakeServer(name) for name in "abcdefgh"]
        balancer = BestOfDraws(draws, Random(1))
        for _ in range(4000):
            balancer.choose(servers, make_facts()).connections += 1
        loads = [server.connections for server in servers]
        return max(loads) - min(loads)

    assert spread(2) * 4 < spread(1)


def test_draws_is_an_option_and_at_least_one() -> None:
    host = load_plugins()
    with pytest.raises(ConfigError, match=r"backends\.app\.balance\.draws"):
        host.build("balancers", Use(use="random", options={"draws": 0}), "backends.app.balance")
    assert isinstance(host.build("balancers", Use(use="random", options={"draws": 3}), "x").object, BestOfDraws)
