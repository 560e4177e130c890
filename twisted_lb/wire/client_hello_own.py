"""Which bytes of a sound ClientHello are its connection's own, and which are the same whenever the program connects.

Source: RFC 8446, sections 4.1.2, 4.2.8 (key shares) and 4.2.11 (``pre_shared_key``); RFC 5077, section 3.2 (tickets);
RFC 6066, section 3 (server names); RFC 9849, section 5 (Encrypted ClientHello).
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from twisted_lb.wire.client_hello_extensions import ECH, KEY_SHARE, PRE_SHARED_KEY, SESSION_TICKET, SNI
from twisted_lb.wire.tls_records import MESSAGE_HEADER, RECORD_HEADER

Span: TypeAlias = tuple[int, int]
"""Where it begins and ends."""

RANDOM: Final = RECORD_HEADER + MESSAGE_HEADER + 2
SESSION_ID: Final = RANDOM + 32
_U16: Final = Struct(">H")
_EXTENSION: Final = Struct(">HH")


def own_bytes(data: bytes) -> tuple[list[Span], Span]:
    """Find them in ``data``, a sound ClientHello in one record; no check depends on what they are, but for the name.

    Returns: where they are, in order, and which of them is the server name; nothing, at the front, if there is none.
    """
    position = SESSION_ID + 1 + data[SESSION_ID]
    own = [(RANDOM, SESSION_ID), (SESSION_ID + 1, position)]
    name = 0, 0
    position += 2 + _U16.unpack_from(data, position)[0]
    position += 1 + data[position] + 2
    while position < len(data):
        kind, length = _EXTENSION.unpack_from(data, position)
        start = position + 4
        position = start + length
        if kind == SNI:
            name = start + 5, position
            own.append(name)
        elif kind == KEY_SHARE:
            own += _key_shares(data, start, position)
        elif kind == SESSION_TICKET:
            own.append((start, position))
        elif kind == PRE_SHARED_KEY:
            binders = start + 2 + _U16.unpack_from(data, start)[0]
            own += [(start + 2, binders), (binders + 2, position)]
        elif kind == ECH and length > 1:
            payload = start + 8 + _U16.unpack_from(data, start + 6)[0]
            own += [(start + 1, start + 6), (start + 8, payload), (payload + 2, position)]
    return own, name


def _key_shares(data: bytes, position: int, end: int) -> Iterator[Span]:
    position += 2
    while position < end:
        start = position + 4
        position = start + _U16.unpack_from(data, position + 2)[0]
        yield start, position
