"""What is done with each accepted socket beyond what it inherits: options, and what only the kernel knows of it.

Nothing is done for the usual TCP listener, and nothing is called for it.

Source: iptables-extensions(8), "REDIRECT"; Linux include/uapi/linux/netfilter_ipv4.h; tcp(7).
"""

import socket
import struct
from collections.abc import Callable
from socket import AF_INET, AF_INET6, AF_UNIX, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP

from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.net.credentials import peer_credentials
from twisted_lb.net.sockopts import SAVED_SYN_LIMIT, TCP_SAVED_SYN, ListenOptions

SAVED_SYN = "tcp.saved_syn"
"""The name under which ``Facts.learnt`` has the client's SYN: its IP and TCP headers, as bytes."""
SO_ORIGINAL_DST = 80

Arrange = Callable[[socket.SocketType, Facts], None]


def original_destination(sock: socket.SocketType) -> SocketAddress | None:
    """Find where the client connected to before a REDIRECT or DNAT rule sent it here.

    ``None`` when the kernel has tracked no such connection: it came directly.
    """
    if sock.family == AF_INET:
        return _tracked_ipv4(sock)
    found = _tracked_ipv6(sock)
    if found is None:
        # A socket that was passed to this process may serve IPv4 too; those connections are tracked as what they are.
        over_ipv4 = _tracked_ipv4(sock)
        return None if over_ipv4 is None else SocketAddress(f"::ffff:{over_ipv4.host}", over_ipv4.port)
    return found


def _tracked_ipv4(sock: socket.SocketType) -> SocketAddress | None:
    try:
        data = sock.getsockopt(IPPROTO_IP, SO_ORIGINAL_DST, 16)
    except OSError:
        return None
    port, host = struct.unpack_from("!H4s", data, 2)
    return SocketAddress(socket.inet_ntop(AF_INET, host), port)


def _tracked_ipv6(sock: socket.SocketType) -> SocketAddress | None:
    try:
        data = sock.getsockopt(IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    except OSError:
        return None
    port, host = struct.unpack_from("!H4x16s", data, 2)
    return SocketAddress(socket.inet_ntop(AF_INET6, host), port)


def _learn_credentials(sock: socket.SocketType, facts: Facts) -> None:
    """Note who connected: two system calls, so rules may ask without a setting that says so."""
    facts.credentials = peer_credentials(sock)


def arrangement(
    options: ListenOptions | None, family: int, original_dst: bool, complain: Callable[[str], None]
) -> Arrange | None:
    """Make what is to be called with each accepted socket and its facts; ``None`` if there is nothing to do.

    ``complain``: told which option the kernel refused; the connection is served without it.
    """
    if family == AF_UNIX:
        return _learn_credentials
    settings = options.per_connection if options is not None else ()
    save_syn = options is not None and options.save_syn
    original_dst = original_dst and family in (AF_INET, AF_INET6)
    if not (settings or save_syn or original_dst):
        return None

    def arrange(sock: socket.SocketType, facts: Facts) -> None:
        try:
            for level, option, value in settings:
                sock.setsockopt(level, option, value)
        except OSError as error:
            complain(f"{facts.peer}: an option of tcp cannot be set on the accepted connection: {error.strerror}")
        if save_syn:
            try:
                facts.learnt[SAVED_SYN] = sock.getsockopt(IPPROTO_TCP, TCP_SAVED_SYN, SAVED_SYN_LIMIT)
            except OSError as error:
                complain(f"{facts.peer}: tcp.save_syn: {error.strerror}")
        if original_dst:
            destination = original_destination(sock)
            if destination is not None:
                facts.destination = destination

    return arrange
