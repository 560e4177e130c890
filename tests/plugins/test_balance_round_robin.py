"""``round_robin`` gives each server its share of the turns, smoothly."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IBalancer, Options
from twisted_lb.testing import BalancerContract, FakeServer, make_facts
from twisted_lb_plugins.balance_round_robin import RoundRobin, build


class TestContract(BalancerContract, SynchronousTestCase):
    """``round_robin`` keeps what every balancer promises."""

    def make_balancer(self) -> IBalancer:
        return build(Options())


def turns(balancer: RoundRobin, candidates: Sequence[FakeServer], count: int) -> str:
    return "".join(balancer.choose(candidates, make_facts()).name for _ in range(count))


def test_equal_servers_take_turns_in_the_order_of_the_configuration() -> None:
    assert turns(RoundRobin(), [FakeServer(name) for name in "abc"], 7) == "abcabca"


def test_weights_are_spread_smoothly() -> None:
    servers = [FakeServer("a", weight=5), FakeServer("b"), FakeServer("c")]
    assert turns(RoundRobin(), servers, 14) == "aabacaa" * 2


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_over_a_full_round_each_server_gets_exactly_its_weight(weights: list[int]) -> None:
    servers = [FakeServer(f"{index}", weight=weight) for index, weight in enumerate(weights)]
    counts = Counter(turns(RoundRobin(), servers, sum(weights)))
    assert counts == {server.name: server.weight for server in servers}


def test_a_server_that_comes_back_is_neither_flooded_nor_forgotten() -> None:
    servers = [FakeServer(name) for name in "abc"]
    balancer = RoundRobin()
    turns(balancer, servers, 4)
    without = Counter(turns(balancer, servers[:2], 100))
    assert abs(without["a"] - without["b"]) <= 2, without
    back = Counter(turns(balancer, servers, 30))
    assert all(9 <= back[name] <= 11 for name in "abc"), back


def test_turns_belong_to_the_name_so_a_new_object_of_that_name_goes_on() -> None:
    balancer = RoundRobin()
    assert turns(balancer, [FakeServer("a"), FakeServer("b")], 1) == "a"
    assert turns(balancer, [FakeServer("a"), FakeServer("b")], 1) == "b"


def test_two_backends_do_not_share_turns() -> None:
    one, other = build(Options()), build(Options())
    servers = [FakeServer("a"), FakeServer("b")]
    assert turns(one, servers, 1) + turns(other, servers, 1) == "aa"
