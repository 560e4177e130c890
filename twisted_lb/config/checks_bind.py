"""What must hold between a bind's address and what it says of the network under it; see ``checks``.

Each problem starts with its key.
"""

from collections.abc import Iterator

from msgspec import UNSET

from twisted_lb.config import inherit
from twisted_lb.config.addresses import (
    BindAddress,
    EndpointDescription,
    InheritedFd,
    IpAddress,
    UnixAbstract,
    UnixPath,
    parse_bind,
)
from twisted_lb.config.convert import INVALID
from twisted_lb.config.model import Bind, Frontend
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.errors import ConfigError

_KINDS: dict[type, str] = {
    UnixPath: "a Unix socket with a path",
    UnixAbstract: "an abstract Unix socket",
    InheritedFd: "a descriptor that was passed to this process",
    EndpointDescription: "an endpoint description of Twisted's",
}
_POSSIBLE: dict[str, tuple[type, ...]] = {
    "transparent": (IpAddress,),
    "original_dst": (IpAddress, InheritedFd),
    "interface": (IpAddress,),
    "namespace": (IpAddress, UnixAbstract),
}
CLIENTS = "*"
"""A namespace that only servers can have."""
_SETTLED = ("multipath", "reuse_port")
"""What whoever opened a descriptor has settled already."""


def check_bind_network(where: str, bind: Bind, address: BindAddress, frontend: Frontend) -> Iterator[str]:
    """Find what does not fit the address of ``bind``, one of ``frontend``'s, or one another."""
    for key, kinds in _POSSIBLE.items():
        if getattr(bind, key) not in (None, False, INVALID) and not isinstance(address, kinds):
            yield f'{where}.{key}: not possible for "{bind.address}", which is {_KINDS[type(address)]}'
    if bind.namespace == CLIENTS:
        yield f'{where}.namespace: "*" is the client\'s, which only servers can have: write a name or a path'
    if bind.transparent is True and bind.original_dst is True:
        yield f"{where}.original_dst: not together with transparent, which has the original destination anyway"
    yield from _check_tcp(where, bind, address)
    known = bind.original_dst is True and INVALID not in (bind.tcp, frontend.tcp)
    if known and inherit.listen_tcp(frontend, bind).multipath is True:
        yield f"{where}.original_dst: not together with tcp.multipath: the kernel does not tell it then"


def _check_tcp(where: str, bind: Bind, address: BindAddress) -> Iterator[str]:
    if not isinstance(bind.tcp, ListenTcp):
        return
    if not isinstance(address, IpAddress | InheritedFd):
        yield f'{where}.tcp: not possible for "{bind.address}", which is {_KINDS[type(address)]}'
    elif isinstance(address, InheritedFd):
        for key in _SETTLED:
            if getattr(bind.tcp, key) is True:
                yield f'{where}.tcp.{key}: whoever opened "{bind.address}" has settled that already'
    yield from _check_values(f"{where}.tcp", bind.tcp)


def check_frontend_tcp(where: str, frontend: Frontend) -> Iterator[str]:
    """A setting that could never have an effect is a mistake."""
    if frontend.tcp in (INVALID, ListenTcp()):
        return
    yield from _check_values(f"{where}.tcp", frontend.tcp)
    if frontend.bind is INVALID:
        return
    addresses = [getattr(bind, "address", INVALID) for bind in frontend.bind]
    if INVALID not in addresses and not any(map(_may_have_options, addresses)):
        yield f"{where}.tcp: none of this frontend's binds is a TCP socket that it could be set on"


def _may_have_options(address: str) -> bool:
    try:
        return isinstance(parse_bind(address), IpAddress | InheritedFd)
    except ConfigError:
        return True  # a problem of its own


def _check_values(where: str, tcp: ListenTcp) -> Iterator[str]:
    if tcp.fin_wait not in (UNSET, INVALID) and not tcp.fin_wait:
        yield f"{where}.fin_wait: cannot be 0, which the kernel takes for its own default"
