"""Handshake messages out of the records that carry them, however they were cut.

A message may be spread over any number of records, and a record over any number of reads; whoever does not put them
together again sees no server name where there is one. Source: RFC 8446, section 5.1.
"""

from struct import Struct
from typing import Final, NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

HANDSHAKE: Final = 22
LONGEST_RECORD: Final = 1 << 14
LONGEST_STREAM: Final = 64 * 1024
"""Bytes that a message may take with its records: what is kept of a connection while nothing is decided."""
RECORD_HEADER: Final = 5
MESSAGE_HEADER: Final = 4
_RECORD: Final = Struct(">BBxH")


class Side(NamedTuple):
    """What the first message of one side has to be, and the rules that are broken when it is not.

    ``rest``: the rule against bytes that follow the message in its record, "" if they may.
    """

    message: int
    no_tls: str
    record_type: str
    record_empty: str
    record_long: str
    wrong_message: str
    long: str
    rest: str


CLIENT: Final = Side(
    1,
    "tls-no-tls",
    "tls-record-type",
    "tls-record-empty",
    "tls-record-long",
    "tls-no-client-hello",
    "tls-hello-long",
    "tls-record-rest",
)
SERVER: Final = Side(
    2,
    "tls-server-no-tls",
    "tls-server-record",
    "tls-server-record",
    "tls-server-record",
    "tls-server-hello",
    "tls-server-hello",
    "",
)


def read_message(data: bytes, side: Side, position: int = 0) -> bytes | NeedMore:
    """Return the handshake message whose first record begins at ``position``: its type, its length, its body.

    Returns: ``NeedMore`` with the least number of bytes that the whole can come in: as if all that is missing came in
        one record. Asked again whenever they are there, this is asked a logarithmic number of times.
    Raises: WireError as soon as it is clear that it cannot be this side's message.
    Cost: O(bytes so far), and a step per record.
    """
    head, pieces, have, wanted, size = b"", [], 0, MESSAGE_HEADER, len(data)
    first = position
    while True:
        least = position + RECORD_HEADER + wanted - have
        if least > LONGEST_STREAM:
            raise WireError(side.long, first + RECORD_HEADER)
        start = position + RECORD_HEADER
        if start > size:
            check_record_start(data, position, side, position == first)
            return NeedMore(least)
        kind, major, length = _RECORD.unpack_from(data, position)
        if kind != HANDSHAKE or major != 3 or not 0 < length <= LONGEST_RECORD:
            check_record_start(data, position, side, position == first)
        position = start + length
        piece = data[start:position]
        if len(head) < MESSAGE_HEADER:
            head += piece[: MESSAGE_HEADER - len(head)]
            wanted = _message_length(head, side, first)
        known = len(head) == MESSAGE_HEADER
        if known and side.rest and have + length > wanted:
            raise WireError(side.rest, start - 2)
        pieces.append(piece)
        have += len(piece)
        if known and have >= wanted:
            return b"".join(pieces) if side.rest else b"".join(pieces)[:wanted]
        if position > size:
            least = size + wanted - have
            least += RECORD_HEADER if least > position else 0
            if least > LONGEST_STREAM:
                raise WireError(side.long, first + RECORD_HEADER)
            return NeedMore(least)


def check_record_start(data: bytes, position: int, side: Side, first: bool) -> None:
    """Judge as much as there is of the header of the record that begins at ``position``.

    ``first``: whether it is the first of its message. Raises: WireError.
    """
    size = len(data) - position
    if size > 0 and data[position] != HANDSHAKE:
        raise WireError(side.no_tls if first else side.record_type, position)
    # What the second byte of the version says is to be ignored "for all purposes".
    if size > 1 and data[position + 1] != 3:
        raise WireError(side.no_tls if first else side.record_type, position + 1)
    if size >= RECORD_HEADER:
        length = data[position + 3] << 8 | data[position + 4]
        if not length:
            raise WireError(side.record_empty, position + 3)
        if length > LONGEST_RECORD:
            raise WireError(side.record_long, position + 3)


def _message_length(head: bytes, side: Side, first: int) -> int:
    if head and head[0] != side.message:
        raise WireError(side.wrong_message, first + RECORD_HEADER)
    if len(head) < MESSAGE_HEADER:
        return MESSAGE_HEADER
    return MESSAGE_HEADER + int.from_bytes(head[1:], "big")


def place_in_stream(data: bytes, offset: int, position: int = 0) -> int:
    """Return where in ``data`` the byte ``offset`` of the message is whose first record begins at ``position``."""
    while position + RECORD_HEADER <= len(data):
        length = data[position + 3] << 8 | data[position + 4]
        position += RECORD_HEADER
        if offset < length:
            return position + offset
        offset -= length
        position += length
    return position
