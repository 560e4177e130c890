"""``balance = "random"``: draw a few servers at random by weight, and take the least loaded of them.

With two draws no server falls far behind or runs far ahead, and proxies that know nothing of each other do not flock to
the same server, as they would with ``least_conn``.

Source: HAProxy configuration.txt, ``balance random``; M. Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing", 1996.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, hookimpl


class RandomOptions(Options, frozen=True):
    """``draws``: how many servers are drawn; 1 is plain chance, more come ever nearer to ``least_conn``."""

    draws: Annotated[int, Meta(ge=1, le=16)] = 2


@implementer(IBalancer)
class BestOfDraws:
    """The least loaded of ``draws`` draws; one server may be drawn more than once."""

    blind = True

    def __init__(self, draws: int, chance: Random) -> None:
        self._draws = draws
        self._choices = chance.choices

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Return the drawn candidate with the least ``connections / weight``; the first drawn of equals.

        Cost: O(candidates).
        """
        drawn = self._choices(candidates, [server.weight for server in candidates], k=self._draws)
        chosen = drawn[0]
        least = chosen.connections / chosen.weight
        for server in drawn:
            load = server.connections / server.weight
            if load < least:
                chosen = server
                least = load
        return chosen


def build(options: RandomOptions) -> BestOfDraws:
    """Build the balancer with a source of chance of its own."""
    return BestOfDraws(options.draws, Random())


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``random``."""
    return {"random": Supply(build, RandomOptions)}
