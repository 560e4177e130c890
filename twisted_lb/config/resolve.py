"""Host names to socket addresses, at start-up and reload; blocking, so never while connections wait."""

import socket
from typing import TypeAlias

from twisted_lb.errors import ConfigError

SockAddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, SockAddr]]:
    """Find the addresses of ``host``, each once, in the system's order: a family and what ``connect`` takes.

    A bind uses them all, a server the first. Never empty.
    Raises: ConfigError that names the host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f'the host "{host}" cannot be resolved: {reason}') from None
    unique: dict[tuple[socket.AddressFamily, SockAddr], None] = {}
    for family, _, _, _, sockaddr in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            unique[family, sockaddr] = None  # type: ignore[index]  # typeshed cannot tell the families apart
    if not unique:
        raise ConfigError(f'the host "{host}" has neither an IPv4 nor an IPv6 address')
    return list(unique)
