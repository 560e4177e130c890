"""What the TLVs of a PROXY v2 header are, and what they mean.

Source: HAProxy proxy-protocol.txt, section 2.2.1 to 2.2.8; Amazon's, Microsoft's and Google's pages on their load
balancers for the types that each took from the custom range. Others may use the same types for something else, so what
does not look like theirs stays bytes and is never refused.
"""

from collections.abc import Iterable
from typing import NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.wire.proxy_header import Tlv, TlvType

AUTHORITY_LIMIT_BYTES = 255
"""HAProxy's limit, and that of a name in DNS."""
UNIQUE_ID_LIMIT_BYTES = 128
"""The specification's limit."""


def split_tlvs(data: bytes, start: int, end: int, reason: str = "proxy-v2-tlv") -> tuple[Tlv, ...]:
    """Split ``data[start:end]`` into TLVs, which must fill it exactly.

    Raises: WireError with ``reason`` at the first TLV that reaches beyond ``end``.
    """
    tlvs: list[Tlv] = []
    while start < end:
        value = start + 3
        stop = value + (data[start + 1] << 8 | data[start + 2]) if value <= end else value
        if stop > end:
            raise WireError(reason, start)
        tlvs.append(Tlv(data[start], data[value:stop]))
        start = stop
    return tuple(tlvs)


def check_tlv(tlv: Tlv, offset: int = 0) -> None:
    """Refuse a TLV that its type does not allow; ``offset``: where it begins in the header.

    Raises: WireError with reason ``proxy-v2-authority``, ``-unique-id``, ``-crc32c`` or ``-ssl``.
    """
    type, value = tlv
    if type == 0x02:
        if len(value) > AUTHORITY_LIMIT_BYTES:
            raise WireError("proxy-v2-authority", offset)
    elif type == 0x03:
        if len(value) != 4:
            raise WireError("proxy-v2-crc32c", offset)
    elif type == 0x05:
        if len(value) > UNIQUE_ID_LIMIT_BYTES:
            raise WireError("proxy-v2-unique-id", offset)
    elif type == 0x20:
        decode_ssl(value, offset + 3)


class Ssl(NamedTuple):
    """What the sender says about the client's TLS.

    ``client``: bits, see the properties; ``verify``: 0 if the client's certificate was verified, but look at
    ``verified``: some senders say 0 when there was none at all. ``tlvs``: the details, ``TlvType.SSL_*``.
    """

    client: int
    verify: int
    tlvs: tuple[Tlv, ...] = ()

    @property
    def used(self) -> bool:
        """The client connected over TLS."""
        return bool(self.client & 0x01)

    @property
    def cert_connection(self) -> bool:
        """The client showed a certificate on this connection."""
        return bool(self.client & 0x02)

    @property
    def cert_session(self) -> bool:
        """The client showed a certificate at some time in this TLS session."""
        return bool(self.client & 0x04)

    @property
    def verified(self) -> bool:
        """The client showed a certificate, and it was found good."""
        return bool(self.client & 0x06) and not self.verify

    def encode(self) -> Tlv:
        """Return it as the TLV that a header carries.

        Raises: WireError with reason ``proxy-v2-ssl`` if it is longer than a TLV can be.
        """
        value = bytes([self.client]) + self.verify.to_bytes(4, "big") + join_tlvs(self.tlvs)
        if len(value) > 0xFFFF:
            raise WireError("proxy-v2-ssl")
        return Tlv(TlvType.SSL, value)


def decode_ssl(value: bytes, offset: int = 0) -> Ssl:
    """Take the value of an SSL TLV apart; ``offset``: where it begins in the header.

    Raises: WireError with reason ``proxy-v2-ssl`` if it is too short, or its own TLVs do not fill it exactly.
    """
    if len(value) < 5:
        raise WireError("proxy-v2-ssl", offset)
    try:
        tlvs = split_tlvs(value, 5, len(value), "proxy-v2-ssl")
    except WireError as error:
        raise WireError(error.reason, offset + error.offset) from None
    return Ssl(value[0], int.from_bytes(value[1:5], "big"), tlvs)


def join_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Return TLVs as bytes.

    Raises: WireError with reason ``proxy-v2-tlv`` if a type is not 0..255 or a value is longer than 65535 bytes.
    """
    parts: list[bytes] = []
    for type, value in tlvs:
        if not 0 <= type <= 0xFF or len(value) > 0xFFFF:
            raise WireError("proxy-v2-tlv", sum(map(len, parts)))
        parts.append(bytes((type, len(value) >> 8, len(value) & 0xFF)))
        parts.append(value)
    return b"".join(parts)
