"""``v2``: the binary PROXY header, with additional fields (TLVs).

Source: HAProxy proxy-protocol.txt, section 2.2.
"""

from collections.abc import Callable, Mapping
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

from zope.interface import implementer

from twisted_lb.api import (
    IProxyCodec,
    NeedMore,
    Options,
    ProxyHeader,
    SocketAddress,
    Supply,
    Tlv,
    TlvType,
    WireError,
    check_tlv,
    crc32c,
    hookimpl,
    join_tlvs,
    split_tlvs,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
"""Version and command: the two bytes 12 that exist."""

FRONT = Struct("!12sBBH")
INET = Struct("!4s4sHH")
INET6 = Struct("!16s16sHH")
UNIX = Struct("!108s108s")

Pair = tuple[SocketAddress | None, SocketAddress | None]


def read_nothing(data: bytes) -> Pair:
    """UNSPEC: no addresses."""
    return None, None


def read_inet(data: bytes) -> Pair:
    """Read the addresses of a header over IPv4."""
    source, destination, source_port, port = INET.unpack_from(data, FRONT.size)
    return SocketAddress(inet_ntop(AF_INET, source), source_port), SocketAddress(inet_ntop(AF_INET, destination), port)


def read_inet6(data: bytes) -> Pair:
    """Read the addresses of a header over IPv6."""
    source, destination, source_port, port = INET6.unpack_from(data, FRONT.size)
    return SocketAddress(inet_ntop(AF_INET6, source), source_port), SocketAddress(
        inet_ntop(AF_INET6, destination), port
    )


def read_unix(data: bytes) -> Pair:
    """Read the addresses of a header over Unix sockets."""
    source, destination = UNIX.unpack_from(data, FRONT.size)
    return unix_address(source), unix_address(destination)


FAMILIES: dict[int, tuple[Callable[[bytes], Pair], int, bool]] = {
    0x00: (read_nothing, FRONT.size, False),
    0x11: (read_inet, FRONT.size + INET.size, False),
    0x12: (read_inet, FRONT.size + INET.size, True),
    0x21: (read_inet6, FRONT.size + INET6.size, False),
    0x22: (read_inet6, FRONT.size + INET6.size, True),
    0x31: (read_unix, FRONT.size + UNIX.size, False),
    0x32: (read_unix, FRONT.size + UNIX.size, True),
}
"""Byte 13, family and transport: how to read the addresses, where they end, whether they are of datagrams."""


@implementer(IProxyCodec)
class ProxyV2:
    """LOCAL and PROXY, over IPv4, IPv6, Unix sockets and UNSPEC, with all TLVs."""

    signature = SIGNATURE
    max_length = FRONT.size + 0xFFFF

    def decode(self, data: bytes) -> tuple[ProxyHeader, int] | NeedMore:
        """Decode the header at the front of ``data``.

        Returns: the header and how many bytes it used; the rest stays the caller's. ``NeedMore`` while it is not
            whole; as soon as its first 16 bytes are there, with its exact length.
        Raises: WireError with reason ``proxy-v2-*`` at the byte or at the beginning of the TLV that is wrong; for the
            first 16 bytes as soon as they have come, for the others when all have.
        Cost: O(length of the header). Keeps no state, so cuts cannot matter.
        """
        if len(data) < 16:
            check_front(data)
            return NeedMore(16)
        signature, command, family, length = FRONT.unpack_from(data)
        if command != PROXY or family not in FAMILIES or signature != SIGNATURE:
            check_front(data)
            return decode_local(data, family, FRONT.size + length)
        read, after, datagram = FAMILIES[family]
        end: int = FRONT.size + length
        if end < after:
            raise WireError("proxy-v2-length", 14)
        if len(data) < end:
            return NeedMore(end)
        source, destination = read(data)
        tlvs = read_tlvs(data, after, end) if end > after else ()
        header = ProxyHeader(source=source, destination=destination, datagram=datagram, tlvs=tlvs)
        return header, end

    def encode(self, header: ProxyHeader) -> bytes:
        """Return the header as bytes, its TLVs in their order.

        A CRC32C among the TLVs is computed anew, whatever its value: ``Tlv(TlvType.CRC32C, b"")`` will do. If only one
        address is IPv6, the other is mapped into it. What is neither between two IP addresses nor between two Unix
        sockets becomes LOCAL and UNSPEC, which every receiver understands.

        Raises: WireError with reason ``proxy-v2-port``, ``-address`` (the name of a Unix socket is too long), ``-tlv``,
            ``-authority``, ``-unique-id``, ``-ssl``, ``-crc32c`` (several) or ``-length`` (more than 65535 bytes).
        """
        family, addresses = (0, b"") if header.local else write_addresses(header)
        front = FRONT.size + len(addresses)
        tlvs, checksum = write_tlvs(header.tlvs, front) if header.tlvs else (b"", 0)
        length = len(addresses) + len(tlvs)
        if length > 0xFFFF:
            raise WireError("proxy-v2-length", 14)
        data = FRONT.pack(SIGNATURE, PROXY if family else LOCAL, family, length) + addresses + tlvs
        if checksum:
            data = data[:checksum] + crc32c(data).to_bytes(4, "big") + data[checksum + 4 :]
        return data


def check_front(data: bytes) -> None:
    """Refuse the first wrong byte of what has come of the 16 at the front; the length is not looked at."""
    for place, (byte, expected) in enumerate(zip(data, SIGNATURE, strict=False)):
        if byte != expected:
            raise WireError("proxy-v2-signature", place)
    if len(data) > 12 and data[12] >> 4 != 2:
        raise WireError("proxy-v2-version", 12)
    if len(data) > 12 and data[12] not in (LOCAL, PROXY):
        raise WireError("proxy-v2-command", 12)
    if len(data) > 13 and data[12] == PROXY and data[13] not in FAMILIES:
        raise WireError("proxy-v2-family", 13)


def decode_local(data: bytes, family: int, end: int) -> tuple[ProxyHeader, int] | NeedMore:
    """Decode a header whose command is LOCAL: whatever family and addresses it has mean nothing, and are skipped.

    Nothing says where its TLVs begin: they are kept if they fill what is left after the addresses that its family has.
    """
    if len(data) < end:
        return NeedMore(end)
    _, after, _ = FAMILIES.get(family, FAMILIES[0])
    try:
        tlvs = split_tlvs(data, after, end)
    except WireError:
        return ProxyHeader(local=True), end
    check_tlvs(tlvs, data, after, end)
    return ProxyHeader(local=True, tlvs=tlvs), end


def read_tlvs(data: bytes, start: int, end: int) -> tuple[Tlv, ...]:
    """Read and check the TLVs of ``data[start:end]``; ``end`` is the end of the header."""
    tlvs = split_tlvs(data, start, end)
    check_tlvs(tlvs, data, start, end)
    return tlvs


def check_tlvs(tlvs: tuple[Tlv, ...], data: bytes, start: int, end: int) -> None:
    """Refuse TLVs that their types do not allow, and a wrong checksum; each is named by where it begins."""
    checksum = 0
    for tlv in tlvs:
        check_tlv(tlv, start)
        if tlv.type == 0x03:
            if checksum:  # each would have to be right with the other one in place: nobody can mean that
                raise WireError("proxy-v2-crc32c", start)
            checksum = start
        start += 3 + len(tlv.value)
    if checksum:
        value = checksum + 3
        blank = data[:value] + b"\0\0\0\0" + data[value + 4 : end]
        if crc32c(blank) != int.from_bytes(data[value : value + 4], "big"):
            raise WireError("proxy-v2-crc32c", checksum)


def unix_address(raw: bytes) -> SocketAddress:
    """Read the name of a Unix socket: a path, an abstract name after a NUL, or nothing but NULs."""
    name = b"@" + raw[1:].rstrip(b"\0") if raw[0] == 0 and any(raw) else raw.partition(b"\0")[0]
    return SocketAddress("unix:" + name.decode("utf-8", "backslashreplace"))


def write_addresses(header: ProxyHeader) -> tuple[int, bytes]:
    """Return byte 13 and the block of addresses: 0 and nothing if the header has none, or none of a known family."""
    source, destination = header.source, header.destination
    if source is None or destination is None:
        return 0, b""
    transport = 2 if header.datagram else 1
    if source.host.startswith("unix:") and destination.host.startswith("unix:"):
        return 0x30 | transport, UNIX.pack(unix_name(source), unix_name(destination))
    pair = header.ip_pair()
    if pair is None:
        return 0, b""
    if not (0 <= source.port <= 0xFFFF and 0 <= destination.port <= 0xFFFF):
        raise WireError("proxy-v2-port")
    family, block = (0x10, INET) if len(pair[0]) == 4 else (0x20, INET6)
    return family | transport, block.pack(*pair, source.port, destination.port)


def unix_name(address: SocketAddress) -> bytes:
    """Return the name of a Unix socket as a header has it, without the NULs that fill it up."""
    name = address.host.removeprefix("unix:").encode("utf-8", "backslashreplace")
    if name.startswith(b"@"):
        name = b"\0" + name[1:]
    if len(name) > 108:
        raise WireError("proxy-v2-address")
    return name


def write_tlvs(tlvs: tuple[Tlv, ...], offset: int) -> tuple[bytes, int]:
    """Return TLVs as bytes, and where in the header the checksum goes; 0 for none. ``offset``: where they begin."""
    written: list[Tlv] = []
    checksum = 0
    for tlv in tlvs:
        if tlv.type == TlvType.CRC32C:
            if checksum:
                raise WireError("proxy-v2-crc32c", offset)
            checksum = offset + 3
            tlv = Tlv(tlv.type, b"\0\0\0\0")
        check_tlv(tlv, offset)
        written.append(tlv)
        offset += 3 + len(tlv.value)
    return join_tlvs(written), checksum


def build(options: Options) -> ProxyV2:
    """Build the codec; it has no options."""
    return ProxyV2()


@hookimpl
def lb_proxy_codecs() -> Mapping[str, Supply[IProxyCodec]]:
    """Supply ``v2``."""
    return {"v2": Supply(build)}
