"""``balance = "least_conn"``: the server with the fewest connections for its weight; equals take turns.

Source: HAProxy configuration.txt, ``balance leastconn``; nginx, ngx_http_upstream_least_conn_module.c, for the turns.
"""

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, Turns, hookimpl


@implementer(IBalancer)
class LeastConn:
    """Fewest connections relative to weight; smooth weighted round robin among equals.

    The turns matter where connections are short: all servers are then idle whenever the next one comes.
    """

    blind = True

    def __init__(self) -> None:
        self._turns = Turns()

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Return the candidate with the least ``connections / weight``.

        Cost: O(candidates).
        """
        least = -1.0
        equals: list[IServer] = []
        for server in candidates:
            load = server.connections / server.weight
            if load == least:
                equals.append(server)
            elif load < least or least < 0:
                least = load
                equals = [server]
        return equals[0] if len(equals) == 1 else self._turns.next(equals)


def build(options: Options) -> LeastConn:
    """Build the balancer; it has no options."""
    return LeastConn()


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``least_conn``."""
    return {"least_conn": Supply(build)}
