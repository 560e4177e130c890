"""What surrounds a proxy in a workload: which mode it works in, and which servers stand behind it."""

from enum import Enum, auto


class Arrangement(Enum):
    """How a proxy and its servers are set up.

    ``PLAIN``: TCP, on loopback. ``PROXIED``: with PROXY v2 headers on both of its sides. ``TRANSPARENT``: TCP, between
    network namespaces, and servers see connections come from the client's own address and port. ``HTTP``: HTTP on
    both sides, connections to servers kept alive. ``UPLOADS``: as ``HTTP``, with servers that read whole requests.
    ``TLS_RULES``: TCP, where a ClientHello and ten rules decide, with servers that say a ServerHello.
    """

    PLAIN = auto()
    PROXIED = auto()
    TRANSPARENT = auto()
    HTTP = auto()
    UPLOADS = auto()
    TLS_RULES = auto()

    @property
    def http(self) -> bool:
        """Whether the proxy understands requests, rather than passing bytes."""
        return self in (Arrangement.HTTP, Arrangement.UPLOADS)
