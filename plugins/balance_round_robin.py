"""``balance = "round_robin"``: servers take turns according to their weights, smoothly.

Weights 5, 1, 1 give ``a a b a c a a`` and never five times ``a`` in a row.

Source: nginx, ngx_http_upstream_round_robin.c, "smooth weighted round-robin".
"""

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, hookimpl


@implementer(IBalancer)
class RoundRobin:
    """Smooth weighted round robin.

    Credit is kept per server name, so a server that leaves the candidates for a while (it is full, or down) comes back
    with what it had, and the others' turns are not disturbed.
    """

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Credit each candidate its weight, choose the richest, and charge it what all were given.

        Cost: O(candidates).
        """
        credit = self._credit
        chosen = candidates[0]
        total = 0
        most = None
        for server in candidates:
            name = server.name
            weight = server.weight
            total += weight
            credit[name] = have = credit.get(name, 0) + weight
            if most is None or have > most:
                most = have
                chosen = server
        credit[chosen.name] -= total
        return chosen


def build(options: Options) -> RoundRobin:
    """Build the balancer; it has no options."""
    return RoundRobin()


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``round_robin``."""
    return {"round_robin": Supply(build)}
