"""``v1``: the PROXY header that is a line of text.

Stricter than most receivers, HAProxy among them, and exactly as the specification has it: one space, no leading zeros,
addresses of the announced family.

Source: HAProxy proxy-protocol.txt, section 2.1.
"""

import re
from collections.abc import Mapping
from socket import AF_INET, AF_INET6, AddressFamily, inet_ntop, inet_pton

from zope.interface import implementer

from twisted_lb.api import (
    IProxyCodec,
    NeedMore,
    Options,
    ProxyHeader,
    SocketAddress,
    Supply,
    WireError,
    hookimpl,
    shared_front,
)

LIMIT_BYTES = 107
"""The longest line that the specification allows, its CRLF included."""

FAMILIES = {b"TCP4": AF_INET, b"TCP6": AF_INET6, b"UNKNOWN": None}
SHORTEST = {b"TCP4": 32, b"TCP6": 22, b"UNKNOWN": 15}
"""The least that a line of that family can have: ``PROXY TCP6 :: :: 0 0`` and CRLF."""

FOREIGN = {AF_INET: re.compile(rb"[^0-9.]"), AF_INET6: re.compile(rb"[^0-9A-Fa-f:.]")}
"""What no address of the family contains."""
NO_DIGIT = re.compile(rb"[^0-9]")


@implementer(IProxyCodec)
class ProxyV1:
    """PROXY TCP4, TCP6 and UNKNOWN."""

    signature = b"PROXY "
    max_length = LIMIT_BYTES

    def decode(self, data: bytes) -> tuple[ProxyHeader, int] | NeedMore:
        """Decode the line at the front of ``data``.

        Returns: the header and how many bytes it used; the rest stays the caller's. ``NeedMore`` while no CRLF is in
            sight, fewer than 107 bytes have come and none of them is wrong.
        Raises: WireError with reason ``proxy-v1-*`` at the first byte, or at the beginning of the first field, that is
            wrong.
        Cost: O(length of the line). Fields are judged from left to right, so that cuts cannot matter.
        """
        end = data.find(b"\r\n", 0, LIMIT_BYTES)
        whole = end >= 0
        line = data[:end] if whole else data[:LIMIT_BYTES]
        if not whole and line.endswith(b"\r") and len(line) < LIMIT_BYTES:
            line = line[:-1]  # may be the first half of a CRLF
        if not line.startswith(self.signature):
            _check_beginning(line, whole)
            return NeedMore(SHORTEST[b"UNKNOWN"])
        fields = line[len(self.signature) :].split(b" ")
        header = _read(fields, whole)
        if header is not None:
            return header, end + 2
        if len(data) >= LIMIT_BYTES:
            raise WireError("proxy-v1-length", LIMIT_BYTES)
        return NeedMore(_at_least(data, fields))

    def encode(self, header: ProxyHeader) -> bytes:
        """Return the header as a line. It has no room for TLVs.

        What is not a TCP connection between two IP addresses becomes ``PROXY UNKNOWN``; if only one is IPv6, the other
        is mapped into it.

        Raises: WireError with reason ``proxy-v1-port`` if a port is not 0..65535.
        """
        pair = None if header.local or header.datagram else header.ip_pair()
        if pair is None or header.source is None or header.destination is None:
            return b"PROXY UNKNOWN\r\n"
        ports = header.source.port, header.destination.port
        if not (0 <= ports[0] <= 0xFFFF and 0 <= ports[1] <= 0xFFFF):
            raise WireError("proxy-v1-port")
        name, family = ("TCP4", AF_INET) if len(pair[0]) == 4 else ("TCP6", AF_INET6)
        source, destination = inet_ntop(family, pair[0]), inet_ntop(family, pair[1])
        return f"PROXY {name} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def _check_beginning(line: bytes, whole: bool) -> None:
    """Refuse a line that cannot become one that begins with the signature."""
    good = shared_front(ProxyV1.signature, line)
    if whole or good < len(line):
        raise WireError("proxy-v1-signature", good)


def _read(fields: list[bytes], whole: bool) -> ProxyHeader | None:
    """Read what follows the signature, split at its spaces. The last field is complete if the line is ``whole``.

    Returns: ``None`` if nothing is wrong so far, but something is missing.
    """
    last = len(fields) - 1
    name = fields[0]
    offset = len(ProxyV1.signature)
    if name not in FAMILIES or (last == 0 and not whole):
        _check_family(name, offset, complete=whole or last > 0)
        return None
    family = FAMILIES[name]
    if family is None:
        return ProxyHeader() if whole else None
    offset += len(name)
    for number, field in enumerate(fields[1:], 1):
        if number > 4:
            raise WireError("proxy-v1-fields", offset)
        _check_field(field, offset + 1, None if number > 2 else family, complete=whole or number < last)
        offset += 1 + len(field)
    if not whole:
        return None
    if last < 4:
        raise WireError("proxy-v1-fields", offset)
    return ProxyHeader(
        source=SocketAddress(_host(family, fields[1]), int(fields[3])),
        destination=SocketAddress(_host(family, fields[2]), int(fields[4])),
    )


def _check_family(name: bytes, offset: int, complete: bool) -> None:
    """Refuse what is no family, or cannot become one."""
    if complete and not name:
        raise WireError("proxy-v1-spaces", offset)
    wrong = max(shared_front(family, name) for family in FAMILIES)
    if wrong < len(name) or complete:
        line_end = name[wrong : wrong + 1] in (b"\r", b"\n")
        raise WireError("proxy-v1-line-end" if line_end else "proxy-v1-family", offset + wrong)


def _check_field(field: bytes, offset: int, family: AddressFamily | None, complete: bool) -> None:
    """Refuse what is no address of ``family``, or no port if that is ``None``, or cannot become one."""
    reason, foreign = ("proxy-v1-port", NO_DIGIT) if family is None else ("proxy-v1-address", FOREIGN[family])
    wrong = foreign.search(field)
    if wrong is not None:
        raise WireError("proxy-v1-line-end" if wrong[0] in b"\r\n" else reason, offset + wrong.start())
    if not complete:
        return
    if not field:
        raise WireError("proxy-v1-spaces", offset)
    if family is None:
        good = len(field) <= 5 and int(field) <= 0xFFFF and (field[0] != 0x30 or len(field) == 1)
    else:
        good = _pack(family, field) is not None
    if not good:
        raise WireError(reason, offset)


def _pack(family: AddressFamily, field: bytes) -> bytes | None:
    try:
        return inet_pton(family, field.decode())
    except OSError:
        return None


def _host(family: AddressFamily, field: bytes) -> str:
    """Return an address as it is usually written: an IPv6 one can come in many spellings, and they must compare."""
    return field.decode() if family is AF_INET else inet_ntop(family, inet_pton(family, field.decode()))


def _at_least(data: bytes, fields: list[bytes]) -> int:
    """Count what the shortest line that begins with ``data`` has."""
    if data.endswith(b"\r"):
        return len(data) + 1
    missing = 2 * (5 - len(fields)) + (not fields[-1]) if fields[0].startswith(b"T") else 0
    return min(max(SHORTEST.get(fields[0], SHORTEST[b"UNKNOWN"]), len(data) + missing + 2), LIMIT_BYTES)


def build(options: Options) -> ProxyV1:
    """Build the codec; it has no options."""
    return ProxyV1()


@hookimpl
def lb_proxy_codecs() -> Mapping[str, Supply[IProxyCodec]]:
    """Supply ``v1``."""
    return {"v1": Supply(build)}
