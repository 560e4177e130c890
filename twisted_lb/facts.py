"""What has been learnt about one connection; each field names the stage that fills it."""

import os
from typing import Any, NamedTuple


class SocketAddress(NamedTuple):
    """One end of a connection.

    ``host``: a dotted quad, an IPv6 address without brackets, or ``unix:PATH`` (``unix:`` alone for an unnamed client).
    ``port``: 0..65535; 0 where the family has none.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.host.startswith("unix:"):
            return self.host
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"

    @classmethod
    def from_sockaddr(cls, sockaddr: Any) -> "SocketAddress":
        """Convert what the ``socket`` module gives: a tuple for IPv4 and IPv6, str or bytes for Unix sockets."""
        if isinstance(sockaddr, tuple):
            return cls(sockaddr[0], sockaddr[1])
        if isinstance(sockaddr, bytes):
            return cls("unix:@" + sockaddr.lstrip(b"\0").decode("utf-8", "backslashreplace"))
        return cls("unix:" + os.fsencode(sockaddr or "").decode("utf-8", "backslashreplace"))

    @classmethod
    def from_address(cls, address: Any) -> "SocketAddress":
        """Convert a Twisted ``IAddress``: one with a host and a port, a Unix one, or any other by its text."""
        if hasattr(address, "host") and hasattr(address, "port"):
            return cls(address.host, address.port)
        name = getattr(address, "name", address)
        if isinstance(name, bytes):
            name = name.decode("utf-8", "backslashreplace").replace("\0", "@", 1)
        return cls(f"unix:{name or ''}")


class Facts:
    """The facts about one connection, read by policies, validators, balancers and logs.

    Lives as long as its connection. Plugins read it; what a validator learns it adds to ``learnt``.
    """

    __slots__ = ("_learnt", "bind", "destination", "frontend", "peer", "proxy_header", "source")

    def __init__(self, source: SocketAddress, destination: SocketAddress, frontend: str, bind: str) -> None:
        self.peer = source
        """accept: who connected to us: the client, or a proxy before us."""
        self.source = source
        """accept: the client's address. proxy header: the one that the header claims, if it names one."""
        self.destination = destination
        """accept: the address that the client connected to. proxy header: the one that the header claims."""
        self.proxy_header: Any = None
        """proxy header: the ``ProxyHeader`` that was received, ``None`` without one."""
        self.frontend = frontend
        """accept: the frontend's name."""
        self.bind = bind
        """accept: the ``bind`` entry as the configuration spells it."""
        self._learnt: dict[str, Any] | None = None

    @property
    def learnt(self) -> dict[str, Any]:
        """validation: what validators learnt, by dotted name (``tls.sni``)."""
        if self._learnt is None:
            self._learnt = {}
        return self._learnt
