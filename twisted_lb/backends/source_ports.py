"""The source ports of connections to one server: a range of them, first in, first out.

A port that was given back is the last to be used again, so that the kernel has forgotten its last connection by then.
Ports are per destination: two servers may use the same range.
"""

import socket
from array import array
from typing import Any


class SourcePorts:
    """The free ports of ``low`` to ``high``, both ends included. Whoever leases one gives it back, once."""

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high
        self.free = high - low + 1
        """How many can be leased."""
        self._ring = array("H", range(low, high + 1))
        self._first = 0

    def lease(self) -> int | None:
        """Take the port that has been free for longest; ``None`` if all are in use."""
        if not self.free:
            return None
        port = self._ring[self._first]
        self._first = (self._first + 1) % len(self._ring)
        self.free -= 1
        return port

    def give_back(self, port: int) -> None:
        """A leased port is free again."""
        self._ring[(self._first + self.free) % len(self._ring)] = port
        self.free += 1


class LeasedSocket(socket.SocketType):
    """A socket that gives its source port back when it is really closed, whoever closes it and why."""

    __slots__ = ("_lease",)
    _lease: "tuple[SourcePorts, int] | None"

    @classmethod
    def around(cls, sock: socket.SocketType, ports: SourcePorts, port: int) -> "LeasedSocket":
        """Take the descriptor of ``sock`` over, which has leased ``port`` of ``ports``."""
        family, type, proto = sock.family, sock.type, sock.proto
        leased = cls(family, type, proto, sock.detach())
        leased._lease = ports, port
        return leased

    def close(self) -> None:
        """Close, and only then give the port back."""
        try:
            super().close()
        finally:
            lease, self._lease = getattr(self, "_lease", None), None
            if lease is not None:
                ports, port = lease
                ports.give_back(port)

    def __del__(self, _: Any = None) -> None:
        """A socket that was forgotten closes here, and must not take its port with it."""
        self.close()
