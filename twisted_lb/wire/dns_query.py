"""A query of DNS as it is sent over TCP: two bytes of length, and the message; pure.

A query has one question, and behind it at most what belongs to a query: the zone's serial for IXFR, EDNS, a signature.
Every record is walked to the last byte, so that nothing else travels along.

Source: RFC 1035, sections 2.3.4, 4.1 and 4.2.2; RFC 1995, 1996 and 2136 for the other operations; RFC 6891 (EDNS);
RFC 8945 (TSIG); RFC 4343, section 2.1, for how names are written.
"""

import struct
from collections.abc import Collection
from typing import NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.dns_names import ROOT, read_name, skip_name

HEADER_BYTES = 12
PREFIX_BYTES = 2
OPCODES = {"query": 0, "notify": 4, "update": 5}
"""What an operator may allow; the others are obsolete, or are nothing to forward."""

_HEADER = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_SOA, _SIG, _OPT, _TSIG, _IXFR = 6, 24, 41, 250, 251
_NEVER_ASKED = (0, _OPT, _TSIG)
_RESPONSE = 0x8000
_MUST_BE_ZERO = 0x024F  # TC, Z and the response code
_TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    13: "HINFO",
    15: "MX",
    16: "TXT",
    24: "SIG",
    25: "KEY",
    28: "AAAA",
    29: "LOC",
    33: "SRV",
    35: "NAPTR",
    39: "DNAME",
    43: "DS",
    44: "SSHFP",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    51: "NSEC3PARAM",
    52: "TLSA",
    59: "CDS",
    60: "CDNSKEY",
    61: "OPENPGPKEY",
    62: "CSYNC",
    63: "ZONEMD",
    64: "SVCB",
    65: "HTTPS",
    99: "SPF",
    249: "TKEY",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
    256: "URI",
    257: "CAA",
}
_CLASSES = {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}


class DnsQuery(NamedTuple):
    """``name``: in small letters, without the final dot; ``.`` is the root. ``type``, ``class_``: such as ``AAAA`` and
    ``IN``, or ``TYPE65280`` and ``CLASS5``.
    """

    id: int
    opcode: int
    name: str
    type: str
    class_: str


def read_dns_query(data: bytes, opcodes: Collection[int] = (0,), max_query_bytes: int = 4096) -> DnsQuery | NeedMore:
    """Read the query that ``data`` begins with. ``max_query_bytes``: of the message, without the two of its length.

    Raises: WireError ``dns-...``; no other exception. Offsets count from the first byte of ``data``.
    Cost: linear in the message's length.
    """
    if len(data) < PREFIX_BYTES:
        return NeedMore(PREFIX_BYTES)
    length = int.from_bytes(data[:PREFIX_BYTES], "big")
    if length < HEADER_BYTES:
        raise WireError("dns-length")
    if length > max_query_bytes:
        raise WireError("dns-long")
    end = PREFIX_BYTES + length
    if len(data) < PREFIX_BYTES + HEADER_BYTES:
        return NeedMore(PREFIX_BYTES + HEADER_BYTES)
    header = _HEADER.unpack_from(data, PREFIX_BYTES)
    opcode = _check_header(header, opcodes)
    if len(data) < end:
        return NeedMore(end)
    try:
        return _read_message(data[PREFIX_BYTES:end], header, opcode)
    except WireError as error:
        raise WireError(error.reason, PREFIX_BYTES + error.offset) from None


def _check_header(header: tuple[int, ...], opcodes: Collection[int]) -> int:
    flags, questions = header[1], header[2]
    opcode = flags >> 11 & 0xF
    if flags & _RESPONSE:
        raise WireError("dns-response", 4)
    if opcode not in opcodes:
        raise WireError("dns-opcode", 4)
    if flags & _MUST_BE_ZERO:
        raise WireError("dns-flags", 4)
    if questions != 1:
        raise WireError("dns-questions", 6)
    return opcode


def _read_message(message: bytes, header: tuple[int, ...], opcode: int) -> DnsQuery:
    name, at = read_name(message, HEADER_BYTES)
    if at + _QUESTION.size > len(message):
        raise WireError("dns-truncated", len(message))
    type_, class_ = _QUESTION.unpack_from(message, at)
    if type_ in _NEVER_ASKED or not class_:
        raise WireError("dns-question", at)
    at += _QUESTION.size
    answers, authorities, additional = header[3:]
    if opcode == OPCODES["query"] and (answers or authorities > (type_ == _IXFR)):
        raise WireError("dns-records", PREFIX_BYTES + 6)
    for _ in range(answers + authorities):
        start = at
        at, kind = _skip_record(message, at)
        if kind in (_OPT, _TSIG) or (opcode == OPCODES["query"] and kind != _SOA):
            raise WireError("dns-records", start)
    at = _skip_additional(message, at, additional)
    if at != len(message):
        raise WireError("dns-trailing", at)
    return DnsQuery(header[0], opcode, name, _TYPES.get(type_, f"TYPE{type_}"), _CLASSES.get(class_, f"CLASS{class_}"))


def _skip_additional(message: bytes, at: int, count: int) -> int:
    """Walk the last section: EDNS at most once, a signature at most once and last."""
    edns = False
    for number in range(count):
        start = at
        at, kind = _skip_record(message, at)
        if kind == _OPT:
            if edns or message[start : start + 1] != ROOT:
                raise WireError("dns-edns", start)
            edns = True
            _check_options(message, start + 1 + _RECORD.size, at)
        elif kind in (_TSIG, _SIG) and number + 1 < count:
            raise WireError("dns-signature", start)
    return at


def _skip_record(message: bytes, at: int) -> tuple[int, int]:
    """Return where a record ends, and its type."""
    at = skip_name(message, at)
    if at + _RECORD.size > len(message):
        raise WireError("dns-truncated", len(message))
    kind, _, _, length = _RECORD.unpack_from(message, at)
    at += _RECORD.size + length
    if at > len(message):
        raise WireError("dns-truncated", len(message))
    return at, kind


def _check_options(message: bytes, at: int, end: int) -> None:
    """Walk the options of EDNS, each of which says how long it is."""
    while at < end:
        at += 4 + int.from_bytes(message[at + 2 : at + 4], "big")
        if at > end:
            raise WireError("dns-edns", end)
