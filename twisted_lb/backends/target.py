"""Where a server is reached: a socket address, one that depends on the client, or a Twisted endpoint."""

import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint

from twisted_lb.backends.source import OutgoingError, ip_of
from twisted_lb.facts import SocketAddress


@dataclass(frozen=True, slots=True)
class SocketTarget:
    """A server behind a socket address.

    ``port_offset``: ``None`` for the port in ``sockaddr``; else the port is the one that the client asked for plus it.
    """

    family: int
    sockaddr: Any
    port_offset: int | None = None

    def sockaddr_for(self, client_port: int) -> Any:
        """The socket address for a client that connected to ``client_port``; ``None`` if there is no such port."""
        if self.port_offset is None:
            return self.sockaddr
        port = client_port + self.port_offset
        if not 1 <= port <= 65535 or not client_port:
            return None
        return (self.sockaddr[0], port, *self.sockaddr[2:])

    def reached_from(self, destination: SocketAddress) -> Any:
        """As ``sockaddr_for``, for a client that connected to ``destination``. Raises: OutgoingError."""
        sockaddr = self.sockaddr_for(destination.port)
        if sockaddr is None:
            raise _no_port(destination, self.port_offset or 0)
        return sockaddr

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            address = self.sockaddr
            return f"unix:@{address[1:].decode()}" if isinstance(address, bytes) else f"unix:{address}"
        host = f"[{self.sockaddr[0]}]" if self.family == socket.AF_INET6 else self.sockaddr[0]
        if self.port_offset is None:
            return f"{host}:{self.sockaddr[1]}"
        return f"{host}:{self.port_offset:+d}" if self.port_offset else f"{host}"


@dataclass(frozen=True, slots=True)
class DestinationTarget:
    """Where the client wanted to go: the destination of its connection.

    ``port``: ``None`` for the destination's plus ``port_offset``.
    """

    port: int | None = None
    port_offset: int = 0

    def reached_from(self, destination: SocketAddress) -> tuple[int, tuple[str, int]]:
        """The family and the socket address for a client that connected to ``destination``.

        Raises: OutgoingError for a destination that is no IP address, and for a port that does not exist.
        """
        found = ip_of(destination.host)
        if found is None:
            raise OutgoingError(f"the client's destination {destination} is no IP address to connect to")
        family, host = found
        port = self.port
        if port is None:
            port = destination.port + self.port_offset
            if not 1 <= port <= 65535 or not destination.port:
                raise _no_port(destination, self.port_offset)
        return family, (host, port)

    def __str__(self) -> str:
        if self.port is not None:
            return f"*:{self.port}"
        return f"*:{self.port_offset:+d}" if self.port_offset else "*"


def _no_port(destination: SocketAddress, offset: int) -> OutgoingError:
    return OutgoingError(f"port {destination.port}{offset:+d} is outside 1..65535")


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """A server behind an ``IStreamClientEndpoint``; ``text`` is its description, and its identity."""

    text: str
    endpoint: Any

    def __str__(self) -> str:
        return self.text


Target = SocketTarget | DestinationTarget | EndpointTarget


def endpoint_of(reactor: Any, target: SocketTarget, sockaddr: Any) -> Any:
    """The Twisted endpoint for a socket address, where there are no streams of ours."""
    if target.family == socket.AF_UNIX:
        return UNIXClientEndpoint(reactor, sockaddr)
    endpoint = TCP6ClientEndpoint if target.family == socket.AF_INET6 else TCP4ClientEndpoint
    return endpoint(reactor, sockaddr[0], sockaddr[1])
