"""Making a connection end without a word: the other side gets no FIN and no RST.

Source: HAProxy configuration.txt, "silent-drop"; tcp(7), ``TCP_REPAIR``, which takes ``CAP_NET_ADMIN``.
"""

import contextlib
from socket import (
    AF_INET,
    AF_INET6,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_UNICAST_HOPS,
    TCP_QUICKACK,
    SocketType,
    socket,
)
from typing import Any

from twisted_lb.net.stream import Stream

TCP_REPAIR = 19
"""From ``include/uapi/linux/tcp.h``; the ``socket`` module does not have it."""


def silence(transport: Any) -> bool:
    """Let ``transport``, which is to be closed with a RST now, be closed without any.

    Returns: whether the kernel keeps quiet. Without the capability the RST, as with HAProxy, gets a time to live of one
    hop: no router passes it on, but a client on this network hears it. What is no TCP connection is left as it is.
    """
    sock = _socket_of(transport)
    if sock is None or sock.family not in (AF_INET, AF_INET6):
        return False
    try:
        sock.setsockopt(IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        with contextlib.suppress(OSError):
            sock.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
            if sock.family == AF_INET6:
                sock.setsockopt(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1)
            sock.setsockopt(IPPROTO_IP, IP_TTL, 1)  # of both: a client of IPv4 may be behind a socket of IPv6
        return False
    return True


def _socket_of(transport: Any) -> SocketType | None:
    if type(transport) is Stream:
        return transport.sock if transport.fd >= 0 else None
    while transport is not None:
        handle = getattr(transport, "getHandle", lambda: None)()
        if isinstance(handle, socket):
            return handle
        transport = getattr(transport, "transport", None)  # TLS over TCP
    return None
