"""What the TLVs of a PROXY v2 header are, and what they mean.

Source: HAProxy proxy-protocol.txt, section 2.2.1 to 2.2.8; Amazon's, Microsoft's and Google's pages on their load
balancers for the types that each took from the custom range. Others may use the same types for something else, so what
does not look like theirs stays bytes and is never refused.
"""

from collections.abc import Callable, Iterable, Iterator
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


Value = str | int | bytes


def type_name(type: int) -> str:
    """Return what the specification calls a type, such as ``SSL_CN``, or the number of one that it does not name."""
    return TlvType(type).name if type in _NAMED else f"0x{type:02X}"


def fields_of(tlvs: Iterable[Tlv]) -> Iterator[tuple[str, Value]]:
    """Yield what TLVs say, as dotted names and values, in their order; a name can come more than once.

    Text is decoded as UTF-8, what is none in it escaped. ``ssl.client`` and ``ssl.verify`` are numbers, see ``Ssl``. A
    TLV of an unknown type, or whose value is not as its type's should be, is called by its number (``0xE4``) and stays
    bytes. Raises nothing.
    """
    for tlv in tlvs:
        meaning = _MEANINGS.get(tlv.type)
        value = None if meaning is None else meaning[1](tlv.value)
        if tlv.type == TlvType.SSL:
            yield from _ssl_fields(tlv)
        elif meaning is None or value is None:
            yield f"0x{tlv.type:02X}", tlv.value
        else:
            yield meaning[0], value


def _ssl_fields(tlv: Tlv) -> Iterator[tuple[str, Value]]:
    try:
        ssl = decode_ssl(tlv.value)
    except WireError:
        yield f"0x{tlv.type:02X}", tlv.value
        return
    yield "ssl.client", ssl.client
    yield "ssl.verify", ssl.verify
    for detail in ssl.tlvs:
        if detail.type == TlvType.SSL_CLIENT_CERT:
            yield "ssl.client_cert", detail.value
        elif detail.type in _SSL_TEXTS:
            yield "ssl." + TlvType(detail.type).name.removeprefix("SSL_").lower(), _text(detail.value)
        else:
            yield f"ssl.0x{detail.type:02X}", detail.value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _bytes(value: bytes) -> bytes:
    return value


def _crc32c(value: bytes) -> int | None:
    return int.from_bytes(value, "big") if len(value) == 4 else None


def _aws(value: bytes) -> str | None:
    """Subtype 1: the VPC endpoint that the connection came through."""
    return value[1:].decode("ascii") if value.startswith(b"\x01vpce-") and value.isascii() else None


def _azure(value: bytes) -> int | None:
    """Subtype 1: the private endpoint's LINKID, little-endian, unlike everything else here."""
    return int.from_bytes(value[1:], "little") if len(value) == 5 and value[0] == 1 else None


def _gcp(value: bytes) -> int | None:
    """The connection id of Private Service Connect."""
    return int.from_bytes(value, "big") if len(value) == 8 else None


_NAMED = frozenset(TlvType)
_SSL_TEXTS = frozenset(range(TlvType.SSL_VERSION, TlvType.SSL_CLIENT_CERT))
_MEANINGS: dict[int, tuple[str, Callable[[bytes], Value | None]]] = {
    TlvType.ALPN: ("alpn", _text),
    TlvType.AUTHORITY: ("authority", _text),
    TlvType.CRC32C: ("crc32c", _crc32c),
    TlvType.NOOP: ("noop", _bytes),
    TlvType.UNIQUE_ID: ("unique_id", _bytes),
    TlvType.NETNS: ("netns", _text),
    TlvType.AWS: ("aws.vpce_id", _aws),
    TlvType.AZURE: ("azure.link_id", _azure),
    TlvType.GCP: ("gcp.psc_connection_id", _gcp),
}
