"""Which traffic is a socket's: addresses of others, one interface only, a port chosen when the destination is known.

Linux only; to be set before ``bind``. Each raises OSError, for the caller to say what for.
Source: ip(7), ``IP_TRANSPARENT``, ``IP_BIND_ADDRESS_NO_PORT``; ipv6(7); socket(7), ``SO_BINDTODEVICE``.
"""

import socket

# Numbers of Linux, of which Python 3.11 lacks some; elsewhere this module must at least be importable.
_IPPROTO_IP, _IPPROTO_IPV6 = 0, 41
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IP_BIND_ADDRESS_NO_PORT = 24
SO_BINDTODEVICE = 25


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
