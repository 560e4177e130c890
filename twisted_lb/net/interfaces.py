"""The network interfaces of a namespace: their names, how long their packets may be, which addresses they have.

Source: rtnetlink(7), netlink(7).
"""

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SocketMaker = Callable[[int, int, int], socket.SocketType]
"""Family, type and protocol -> a socket, in whichever namespace its maker stands for."""

_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_IFLA_IFNAME, _IFLA_MTU = 3, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_READ_SIZE = 1 << 16


@dataclass(slots=True)
class Interface:
    """One of them. ``mtu``: the bytes of its longest packet; ``addresses``: in network order, 4 or 16 bytes."""

    name: str
    mtu: int
    up: bool
    loopback: bool
    addresses: set[bytes] = field(default_factory=set)


def interfaces(make: SocketMaker = socket.SocketType) -> list[Interface]:
    """Ask the kernel for all of them. Raises OSError."""
    sock = make(_AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        found = dict(map(_link, _dump(sock, _RTM_GETLINK, _RTM_NEWLINK)))
        for body in _dump(sock, _RTM_GETADDR, _RTM_NEWADDR):
            attributes = dict(_attributes(body, 8))
            (index,) = struct.unpack_from("=I", body, 4)
            address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if address and index in found:
                found[index].addresses.add(address)
    finally:
        sock.close()
    return list(found.values())


def mtu_towards(host: str, interface: str | None, known: list[Interface]) -> int:
    """How long the packets of a listener on ``host`` may be, at most.

    That of ``interface`` if it is tied to one, else that of the one which has the address; for an address that none has
    (all of them, or those of others) the smallest of those that are up, loopback aside. Raises: LookupError when there
    is none.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if interface is not None:
        having = [one for one in known if one.name == interface]
    elif address.is_loopback:
        having = [one for one in known if one.loopback]
    else:
        having = [one for one in known if address.packed in one.addresses] or [
            one for one in known if one.up and not one.loopback
        ]
    if not having:
        raise LookupError("no interface is up")
    return min(one.mtu for one in having)


def _link(body: bytes) -> tuple[int, Interface]:
    _, _, _, index, flags = struct.unpack_from("=BBHiI", body)
    attributes = dict(_attributes(body, 16))
    name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "backslashreplace")
    (mtu,) = struct.unpack("=I", attributes[_IFLA_MTU])
    return index, Interface(name, mtu, bool(flags & _IFF_UP), bool(flags & _IFF_LOOPBACK))


def _dump(sock: socket.SocketType, request: int, wanted: int) -> Iterator[bytes]:
    """Yield the bodies of all messages that answer a request for everything of a kind."""
    # An ifinfomsg is the longest of the two bodies, and all zeros mean "of whatever family".
    sock.send(struct.pack("=IHHII16x", 32, request, _NLM_F_REQUEST_DUMP, 0, 0))
    while True:
        data = sock.recv(_READ_SIZE)
        start = 0
        while start + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, start)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", data, start + 16)
                raise OSError(-number, "the kernel does not tell of its interfaces")
            if kind == wanted:
                yield data[start + 16 : start + length]
            start += length + 3 & ~3


def _attributes(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, start)
        if length < 4:
            return
        yield kind, body[start + 4 : start + length]
        start += length + 3 & ~3
