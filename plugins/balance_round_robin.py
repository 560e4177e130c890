"""``balance = "round_robin"``: servers take turns according to their weights, smoothly.

Weights 5, 1, 1 give ``a a b a c a a`` and never five times ``a`` in a row.
"""

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, Turns, hookimpl


@implementer(IBalancer)
class RoundRobin:
    """Smooth weighted round robin; a server that was full or down for a while comes back with the credit it had."""

    blind = True

    def __init__(self) -> None:
        self._turns = Turns()

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Return the one whose turn it is. Cost: O(candidates)."""
        return self._turns.next(candidates)


def build(options: Options) -> RoundRobin:
    """Build the balancer; it has no options."""
    return RoundRobin()


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``round_robin``."""
    return {"round_robin": Supply(build)}
