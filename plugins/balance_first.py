"""``balance = "first"``: the first server that is not full, so that few servers carry the load.

Source: HAProxy configuration.txt, ``balance first``.
"""

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, hookimpl


@implementer(IBalancer)
class First:
    """Fills servers in the configuration's order; only of use where servers have a ``maxconn``."""

    blind = True

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Return the first candidate: servers that have reached their ``maxconn`` are not among them."""
        return candidates[0]


def build(options: Options) -> First:
    """Build the balancer; it has no options."""
    return First()


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``first``."""
    return {"first": Supply(build)}
