"""PROXY headers as the tests write and read them: from the specification, and apart from the code that is tested.

Source: proxy-protocol.txt, sections 2.1 and 2.2.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, SSL, AWS = 0x01, 0x02, 0x03, 0x04, 0x20, 0xEA
SSL_VERSION, SSL_CN = 0x21, 0x22


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``."""
    rest = 0xFFFFFFFF
    for octet in data:
        rest ^= octet
        for _ in range(8):
            rest = (rest >> 1) ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


@dataclass(frozen=True)
class Header:
    """What one header says. ``command``: ``LOCAL``, or ``PROXY``. Addresses are ``None`` where it names none."""

    version: str
    command: str
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    tlvs: dict[int, bytes] = field(default_factory=dict)


Ends = tuple[str, int]


def line(source: Ends, destination: Ends) -> bytes:
    """Spell a header in version 1."""
    family = b"TCP6" if ":" in source[0] else b"TCP4"
    return b"PROXY %s %s %s %d %d\r\n" % (
        family,
        source[0].encode(),
        destination[0].encode(),
        source[1],
        destination[1],
    )


def binary(source: Ends, destination: Ends, tlvs: bytes = b"") -> bytes:
    """Spell a header in version 2; ``tlvs`` as they go over the wire."""
    ends = [ipaddress.ip_address(end[0]) for end in (source, destination)]
    family = 0x11 if ends[0].version == 4 else 0x21
    block = ends[0].packed + ends[1].packed + struct.pack("!HH", source[1], destination[1])
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(block) + len(tlvs)) + block + tlvs


def spell(version: str, source: Ends, destination: Ends) -> bytes:
    """Spell a header in version ``v1`` or ``v2``."""
    return (line if version == "v1" else binary)(source, destination)


def length(buffer: bytes) -> int | None:
    """How long the header at the front of ``buffer`` is; ``None`` while that cannot be known."""
    if buffer.startswith(b"PROXY"):
        end = buffer.find(b"\r\n")
        assert end >= 0 or len(buffer) < 107, f"no header: {buffer!r}"
        return end + 2 if end >= 0 else None
    assert buffer[:12] == SIGNATURE[: len(buffer)], f"no header: {buffer!r}"
    return 16 + int(struct.unpack_from("!H", buffer, 14)[0]) if len(buffer) >= 16 else None


def split_tlvs(data: bytes) -> dict[int, bytes]:
    """Take a vector of TLVs apart; each type may be there once."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("!BH", data, at)
        value = data[at + 3 : at + 3 + size]
        assert len(value) == size
        assert kind not in found
        found[kind] = value
        at += 3 + size
    return found


def read(header: bytes) -> Header:
    """Say what ``header``, all of it and nothing else, means. A wrong check sum is an ``AssertionError``."""
    if header.startswith(b"PROXY "):
        words = header.decode().removesuffix("\r\n").split(" ")
        if words[1] == "UNKNOWN":
            return Header("v1", "LOCAL", None, None)
        assert words[1] in ("TCP4", "TCP6")
        assert len(words) == 6
        assert ipaddress.ip_address(words[2]).version == int(words[1][3])
        return Header("v1", "PROXY", (words[2], int(words[4])), (words[3], int(words[5])))
    command, family = header[12], header[13]
    assert command in (0x20, 0x21)
    size = {0x11: 4, 0x21: 16, 0x00: 0}[family]
    at = 16 + (2 * size + 4 if size else 0)
    tlvs = split_tlvs(header[at:])
    if CRC32C in tlvs:
        assert crc32c(header.replace(tlvs[CRC32C], bytes(4), 1)) == int.from_bytes(tlvs[CRC32C])
    if command == 0x20 or not size:
        return Header("v2", "LOCAL" if command == 0x20 else "PROXY", None, None, tlvs)
    ports = struct.unpack_from("!HH", header, 16 + 2 * size)
    first, second = header[16 : 16 + size], header[16 + size : 16 + 2 * size]
    source, destination = (str(ipaddress.ip_address(packed)) for packed in (first, second))
    return Header("v2", "PROXY", (source, ports[0]), (destination, ports[1]), tlvs)
