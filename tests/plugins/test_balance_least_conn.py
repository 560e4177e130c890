"""``least_conn`` chooses the server with the fewest connections for its weight."""

from collections import Counter
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IBalancer, Options
from twisted_lb.testing import BalancerContract, FakeServer, make_facts
from twisted_lb_plugins.balance_least_conn import LeastConn, build


class TestContract(BalancerContract, SynchronousTestCase):
    """``least_conn`` keeps what every balancer promises."""

    def make_balancer(self) -> IBalancer:
        return build(Options())


def turns(balancer: LeastConn, candidates: Sequence[FakeServer], count: int) -> str:
    return "".join(balancer.choose(candidates, make_facts()).name for _ in range(count))


def test_the_server_with_the_fewest_connections_is_chosen() -> None:
    servers = [FakeServer("a", connections=3), FakeServer("b", connections=2), FakeServer("c", connections=9)]
    assert turns(LeastConn(), servers, 3) == "bbb"


def test_connections_count_in_relation_to_the_weight() -> None:
    servers = [FakeServer("a", weight=4, connections=4), FakeServer("b", weight=1, connections=2)]
    assert turns(LeastConn(), servers, 1) == "a"


def test_idle_servers_take_turns_by_weight() -> None:
    servers = [FakeServer("a", weight=3), FakeServer("b")]
    assert Counter(turns(LeastConn(), servers, 40)) == {"a": 30, "b": 10}


def test_only_equals_take_turns() -> None:
    servers = [FakeServer("a", connections=1), FakeServer("b"), FakeServer("c")]
    assert turns(LeastConn(), servers, 4) == "bcbc"


def test_connections_that_stay_open_fill_servers_in_proportion_to_their_weights() -> None:
    servers = [FakeServer("a", weight=3), FakeServer("b", weight=1)]
    balancer = LeastConn()
    for _ in range(40):
        balancer.choose(servers, make_facts()).connections += 1
    assert [server.connections for server in servers] == [30, 10]
