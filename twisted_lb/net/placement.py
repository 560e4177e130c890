"""Which traffic is a socket's: addresses of others, one interface only, a port chosen when the destination is known.

Linux only; to be set before ``bind``. Each raises OSError, for the caller to say what for.
Source: ip(7), ``IP_TRANSPARENT``, ``IP_BIND_ADDRESS_NO_PORT``; ipv6(7); socket(7), ``SO_BINDTODEVICE``;
Linux, net/ipv4/af_inet.c, ``__inet_bind``.
"""

import errno
import socket

from twisted_lb.net.interfaces import SocketMaker

# Numbers of Linux, of which Python 3.11 lacks some; elsewhere this module must at least be importable.
_IPPROTO_IP, _IPPROTO_IPV6 = 0, 41
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IP_BIND_ADDRESS_NO_PORT = 24
SO_BINDTODEVICE = 25
_DISCARD = 9


def allow_foreign_addresses(sock: socket.SocketType, family: int) -> None:
    """Let a socket have addresses that are not this machine's. PermissionError: it takes a capability."""
    if family == socket.AF_INET6:
        sock.setsockopt(_IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(_IPPROTO_IP, IP_TRANSPARENT, 1)


def tie_to_interface(sock: socket.SocketType, name: str) -> None:
    """Let only what comes in and goes out by one interface be the socket's. ENODEV: there is none of that name."""
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, name.encode() + b"\0")


def choose_port_late(sock: socket.SocketType) -> None:
    """Let the kernel choose a port at ``connect``, where another destination makes one free, rather than at ``bind``.

    IPv6 sockets have no option of their own, and obey this one.
    """
    sock.setsockopt(_IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)


def is_broadcast(make: SocketMaker, host: str) -> bool:
    """Whether an IPv4 address is a network's broadcast address where ``make`` makes sockets.

    A TCP socket can be bound to such a one, and connects from one of ours then. The kernel says which they are to who
    wants to send there without SO_BROADCAST; nothing is sent.
    """
    probe = make(socket.AF_INET, socket.SOCK_DGRAM, 0)
    try:
        code = probe.connect_ex((host, _DISCARD))
        if code != errno.EACCES:
            return False
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return probe.connect_ex((host, _DISCARD)) == 0  # else it is a route that forbids it
    finally:
        probe.close()
