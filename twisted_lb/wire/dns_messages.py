"""Messages of DNS, cut out of a TCP stream whose pieces may end anywhere; pure.

Source: RFC 1035, section 4.2.2; RFC 7766, section 8.
"""

from typing import NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.wire.dns_query import HEADER_BYTES, PREFIX_BYTES


class DnsMessages:
    """Keeps the beginning of the message that has begun.

    ``keep_bytes``: so many of each, its length prefix not counted; the rest is skipped. ``max_bytes``: longer ones are
    refused.
    """

    __slots__ = ("_begun", "_keep_bytes", "_max_bytes", "_skip")

    def __init__(self, keep_bytes: int = HEADER_BYTES, max_bytes: int = 65535) -> None:
        self._keep_bytes = keep_bytes
        self._max_bytes = max_bytes
        self._begun = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return what is kept of each message whose kept part is whole now, each with its length prefix.

        Raises: WireError ``dns-length`` or ``dns-long``; no other exception. Cost: linear.
        """
        found: list[bytes] = []
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            want = self._wanted() - len(self._begun)
            self._begun += data[at : at + want]
            at += want
            if len(self._begun) == self._wanted():
                found.append(bytes(self._begun))
                self._skip = max(0, self._length() - self._keep_bytes)
                self._begun.clear()
        return found

    def _length(self) -> int:
        return int.from_bytes(self._begun[:PREFIX_BYTES], "big")

    def _wanted(self) -> int:
        if len(self._begun) < PREFIX_BYTES:
            return PREFIX_BYTES
        length = self._length()
        if length < HEADER_BYTES:
            raise WireError("dns-length")
        if length > self._max_bytes:
            raise WireError("dns-long")
        return PREFIX_BYTES + min(length, self._keep_bytes)


class DnsHead(NamedTuple):
    """What the beginning of a message says; ``response``: whether it is no query."""

    id: int
    response: bool


def read_dns_head(message: bytes) -> DnsHead:
    """Read the header of a message that has a length prefix and a whole header."""
    return DnsHead(int.from_bytes(message[2:4], "big"), bool(message[4] & 0x80))
