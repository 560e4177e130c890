"""``balance = "sticky_source"``: a client always gets the same server, chosen by hashing its address."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from zope.interface import implementer

from twisted_lb.api import Facts, IBalancer, IServer, Options, Supply, hookimpl


class StickySourceOptions(Options, frozen=True):
    """``salt``: any text; another one deals out the clients anew."""

    salt: str = ""


@implementer(IBalancer)
class StickySource:
    """Rendezvous hashing: when a server leaves, its own clients move and all others stay."""

    def __init__(self, salt: str) -> None:
        self._salt = salt

    def choose(self, candidates: Sequence[IServer], facts: Facts) -> IServer:
        """Return the candidate whose name, hashed with the client's address, gives the highest value."""
        client = f"{self._salt}|{facts.source.host}|"
        return max(candidates, key=lambda server: blake2b((client + server.name).encode(), digest_size=8).digest())


def build(options: StickySourceOptions) -> StickySource:
    """Build the balancer of one backend."""
    return StickySource(options.salt)


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply ``sticky_source``."""
    return {"sticky_source": Supply(build, StickySourceOptions)}
