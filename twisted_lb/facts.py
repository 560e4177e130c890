"""What has been learnt about one connection; each field names the stage that fills it."""

import os
from collections.abc import Callable
from functools import partial
from socket import AF_INET
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from twisted_lb.token_bucket import Shaping, TokenBucket

HIGHEST_CLASS = 2047
"""Classes of the queue go from minus this to this; what is set beyond is taken for the nearest, as in HAProxy."""


class SocketAddress(NamedTuple):
    """One end of a connection.

    ``host``: a dotted quad, an IPv6 address without brackets, ``unix:PATH`` (``unix:`` alone for an unnamed client),
    or ``unknown:KIND``, which no network contains.
    ``port``: 0..65535; 0 where the family has none.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.host.startswith(("unix:", "unknown:")):
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
    def converter(cls, family: int) -> Callable[[Any], "SocketAddress"]:
        """Return what does the same as ``from_sockaddr`` for one family, without a call of Python's for the usual."""
        return partial(tuple.__new__, cls) if family == AF_INET else cls.from_sockaddr

    @classmethod
    def from_address(cls, address: Any) -> "SocketAddress":
        """Convert a Twisted ``IAddress``; of one that is neither of IP nor of a Unix socket only its kind is kept.

        What such an address says of itself, it may say in the words of one that is trusted.
        """
        if isinstance(address, IPv4Address | IPv6Address):
            return cls(address.host, address.port)
        if isinstance(address, UNIXAddress):
            name = (address.name or b"").decode("utf-8", "backslashreplace")
            return cls(f"unix:{name.replace(chr(0), '@', 1)}")
        return cls(f"unknown:{type(address).__name__}")


class Credentials(NamedTuple):
    """Who connected over a Unix socket. ``groups``: the supplementary ones, ``None`` if they are not known.

    ``pid``: 0 for a process that our namespace does not have. It may be another process's by the time it is read.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] | None = ()


class Facts:
    """The facts about one connection, read by policies, validators, balancers and logs.

    Lives as long as its connection, and no longer: what a plugin keeps about a connection it may keep in a
    ``WeakKeyDictionary`` by its facts. Plugins read it; what a validator learns it adds to ``learnt``. Policies may
    set ``backend`` and ``priority``, edit ``http.headers``, and ``shape``.
    """

    __slots__ = (
        "__weakref__",
        "_priority",
        "backend",
        "bind",
        "credentials",
        "destination",
        "farewell",
        "frontend",
        "http",
        "learnt",
        "namespace",
        "peer",
        "proxy_header",
        "secure",
        "shaping",
        "source",
        "tracking",
    )

    def __init__(
        self,
        source: SocketAddress,
        destination: SocketAddress,
        frontend: str,
        bind: str,
        namespace: str | None = None,
    ) -> None:
        self.peer = source
        """accept: who connected to us: the client, or a proxy before us."""
        self.source = source
        """accept: the client's address. proxy header: the one that the header claims, if it names one."""
        self.destination = destination
        """accept: the address that the client connected to, also one that is not ours. proxy header: the one that the
        header claims."""
        self.credentials: Credentials | None = None
        """accept: who connected to us over a Unix socket, ``None`` over anything else. That is ``peer``, also behind a
        PROXY header."""
        self.proxy_header: Any = None
        """proxy header: the ``ProxyHeader`` that was received, ``None`` without one."""
        self.frontend = frontend
        """accept: the frontend's name."""
        self.bind = bind
        """accept: the ``bind`` entry as the configuration spells it."""
        self.namespace = namespace
        """accept: the network namespace that the client came in by, as configured, ``None`` for our own. proxy header:
        the one that its NETNS TLV chose, if ``accept_proxy.namespaces`` lists any."""
        self.http: Any = None
        """validation, in HTTP mode: the current request's ``RequestHead``, ``None`` between two."""
        self.secure = False
        """accept: whether the client's connection is encrypted, as far as we decrypt it."""
        self.backend: str | None = None
        """policy: the name of the backend that this goes to, in place of where ``routes`` would lead; any backend of
        the configuration. In HTTP mode a request's, which begins with what was set for its connection."""
        self.shaping: Shaping | None = None
        """policy: what limits its bandwidth; ``shape`` adds to it. In HTTP mode a request's, which begins with what was
        set for its connection."""
        self.tracking: Any = None
        """policy: the ``counting.tracking.Tracking`` of a connection that is counted in tables, ``None`` of others."""
        self.learnt: dict[str, Any] = {}
        """validation: what validators learnt, by dotted name (``tls.sni``)."""
        self.farewell = b""
        """validation: in TCP mode the last bytes for a client that is refused behind it, by a policy or a route without
        last words of its own."""
        self._priority = 0

    @property
    def priority(self) -> int:
        """policy: the class in a backend's queue, -2047..2047; the lowest first. In HTTP mode a request's, which
        begins with what was set for its connection.
        """
        return self._priority

    @priority.setter
    def priority(self, value: int) -> None:
        if not isinstance(value, int):
            raise TypeError(f"priority is a whole number, and not {value!r}")
        self._priority = max(-HIGHEST_CLASS, min(value, HIGHEST_CLASS))

    def shape(self, in_: TokenBucket | None = None, out: TokenBucket | None = None) -> None:
        """Let bytes of the client (``in_``), and bytes to it (``out``), pass only as fast as a bucket has tokens.

        For policies, as often as they like: every bucket counts, and each once, however often it is named. Connections
        that name the same bucket share it. In HTTP mode it is for the current request, or for all if there is none yet.
        """
        shaping = self.shaping
        self.shaping = (Shaping() if shaping is None else shaping).plus(in_, out)
