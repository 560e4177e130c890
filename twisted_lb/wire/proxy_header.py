"""What a PROXY protocol header says, whichever version carried it, and which codec some bytes are for.

Source: HAProxy proxy-protocol.txt, sections 2 and 2.2.
"""

from collections.abc import Sequence
from enum import IntEnum
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from twisted_lb.errors import WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.verdicts import NeedMore


class TlvType(IntEnum):
    """The types of TLVs that the specification names, and those that the large clouds took from the custom range."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    SSL_GROUP = 0x26
    SSL_SIG_SCHEME = 0x27
    SSL_CLIENT_CERT = 0x28
    NETNS = 0x30
    GCP = 0xE0
    AWS = 0xEA
    AZURE = 0xEE


class Tlv(NamedTuple):
    """One additional field of a header. ``type``: 0..255, see ``TlvType``; ``value``: at most 65535 bytes."""

    type: int
    value: bytes


class ProxyHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the sender of a header claims about the connection that it forwards.

    ``source`` and ``destination`` are both given or both ``None``: then the header names no addresses (v1 UNKNOWN; v2
    LOCAL or UNSPEC), and those of the connection that it came on count.
    """

    source: SocketAddress | None = None
    destination: SocketAddress | None = None
    local: bool = False
    """The sender speaks for itself, as health checks do: no connection is forwarded."""
    datagram: bool = False
    """The addresses are those of datagrams (UDP, or Unix datagram sockets), not of a stream."""
    tlvs: tuple[Tlv, ...] = ()
    """In the order in which they came; padding (NOOP) and the checksum (CRC32C) are among them."""

    def tlv(self, type: int) -> bytes | None:
        """Return the value of the first TLV of that type, ``None`` if there is none."""
        for tlv in self.tlvs:
            if tlv.type == type:
                return tlv.value
        return None

    def ip_pair(self) -> tuple[bytes, bytes] | None:
        """Return both addresses in network order: 4 bytes each, or 16 if one is IPv6, the other mapped into it.

        ``None`` if the header names none, or not two IP addresses. A zone (``%eth0``) means nothing elsewhere and is
        left out.
        """
        if self.source is None or self.destination is None:
            return None
        source, destination = _pack_ip(self.source.host), _pack_ip(self.destination.host)
        if source is None or destination is None:
            return None
        if len(source) == len(destination):
            return source, destination
        return (_MAPPED + source)[-16:], (_MAPPED + destination)[-16:]


_MAPPED = bytes(10) + b"\xff\xff"
"""What comes before an IPv4 address as an IPv6 one. Source: RFC 4291, section 2.5.5.2."""


def _pack_ip(host: str) -> bytes | None:
    try:
        return inet_pton(AF_INET6, host.partition("%")[0]) if ":" in host else inet_pton(AF_INET, host)
    except (OSError, ValueError):  # a Unix socket, or a name, or one with a NUL in it
        return None


class Signed(Protocol):
    """What ``recognise`` needs to know of a codec; every ``IProxyCodec`` has it."""

    @property
    def signature(self) -> bytes:
        """What every header of this version begins with; not empty."""


Codec = TypeVar("Codec", bound=Signed)


def recognise(codecs: Sequence[Codec], data: bytes) -> Codec | NeedMore:
    """Return the codec whose signature ``data`` begins with; if there are several, the one with the longest.

    Returns: ``NeedMore`` while ``data`` is too short to tell; cuts cannot matter.
    Raises: WireError with reason ``proxy-not-a-header`` at the first byte that no signature has.
    """
    found: Codec | None = None
    wanted: list[int] = []
    for codec in codecs:
        signature = codec.signature
        if data.startswith(signature):
            if found is None or len(signature) > len(found.signature):
                found = codec
        elif signature.startswith(data):
            wanted.append(len(signature))
    if wanted:
        return NeedMore(min(wanted))
    if found is None:
        raise WireError("proxy-not-a-header", max((shared_front(codec.signature, data) for codec in codecs), default=0))
    return found


def shared_front(one: bytes, other: bytes) -> int:
    """Count the bytes that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))
