"""``sticky_source`` keeps every balancer's promises, and its own."""

from unittest import TestCase

from lb_sticky_source import StickySourceOptions, build

from twisted_lb.api import IBalancer
from twisted_lb.testing import BalancerContract, FakeServer, make_facts


class TestContract(BalancerContract, TestCase):
    """What every balancer promises."""

    def make_balancer(self) -> IBalancer:
        """Make the balancer under test."""
        return build(StickySourceOptions())


CLIENTS = [f"192.0.2.{number}" for number in range(200)]


def names(servers: list[FakeServer], salt: str = "") -> list[str]:
    """Return the name of each client's server."""
    balancer = build(StickySourceOptions(salt=salt))
    return [balancer.choose(servers, make_facts(client)).name for client in CLIENTS]


def test_only_the_clients_of_a_server_that_leaves_move() -> None:
    """They are dealt out among the servers that stay."""
    servers = [FakeServer(name) for name in "abc"]
    before, after = names(servers), names(servers[:2])
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "c")
    assert {new for old, new in zip(before, after, strict=True) if old == "c"} == {"a", "b"}


def test_another_salt_deals_out_the_clients_anew() -> None:
    """So a bad hand can be changed."""
    servers = [FakeServer(name) for name in "abc"]
    assert names(servers, "x") == names(servers, "x") != names(servers, "y")
