"""What a server of TLS says first: a ServerHello, or an alert that says why not.

Source: RFC 8446, sections 4.1.3, 5.1 and 6; RFC 5246, section 7.4.1.3. A HelloRetryRequest is a ServerHello too.
"""

from collections.abc import Iterator
from struct import Struct, error
from typing import Final

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello_extensions import KEY_SHARE, VERSIONS
from twisted_lb.wire.hello_shapes import LONGEST, Shapes
from twisted_lb.wire.tls_records import (
    HANDSHAKE,
    LONGEST_RECORD,
    RECORD_HEADER,
    SERVER,
    check_record_start,
    place_in_stream,
    read_message,
)

ALERT: Final = 21
ALERT_BYTES: Final = 7
"""Of its record, in the clear."""
WARNING, FATAL = 1, 2
MOST_WARNINGS: Final = 4
"""Alerts that are no more than warnings, such as of a name that the server does not know, before its ServerHello."""
ALERTS_LIMIT: Final = 64
"""Bytes within which all warnings are over, and so few that looking at all of them each time costs nothing."""
RETRY_RANDOM: Final = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")
"""What a HelloRetryRequest has in the place of a ServerHello's random: RFC 8446, section 4.1.3."""
_U16: Final = Struct(">H")
_EXTENSION: Final = Struct(">HH")
_RANDOM: Final = slice(11, 43)
_SESSION_ID: Final = 43
_shapes: Final = Shapes[int]()
"""ServerHellos in one record, and the versions that they choose."""


class TlsServerStart:
    """Follows what one server says until its ServerHello is whole; keeps 64 KiB at most.

    Every record's header is judged when it comes, so that nothing goes on behind one that is wrong.
    """

    __slots__ = ("_at_least", "_header", "_min_version", "_said")

    def __init__(self, min_version: int = 0x0301) -> None:
        self._min_version = min_version
        self._said = b""
        self._at_least = 0
        self._header = 0

    def feed(self, data: bytes) -> bool:
        """Take what came next; tell whether that was enough: a sound ServerHello, or a fatal alert.

        Raises: WireError with a name out of ``tls_rules.RULES``, as soon as it can be neither of them.
        Cost: linear in all bytes, apart from a logarithmic number of looks at all of them.
        """
        said = self._said = self._said + data
        if len(said) < self._at_least and len(said) > ALERTS_LIMIT:
            self._judge_headers()
            return False
        answer = read_server_start(said, self._min_version)
        if answer is None:
            return True
        self._at_least = answer.at_least
        return False

    @property
    def is_last(self) -> bool:
        """Whether what was read came in one record, as nearly always, and is no HelloRetryRequest."""
        said = self._said
        return _message_in_one_record(said) is not None and said[_RANDOM] != RETRY_RANDOM

    def _judge_headers(self) -> None:
        said, position = self._said, self._header
        while position < ALERTS_LIMIT and said[position] == ALERT:
            position += ALERT_BYTES
        while True:
            check_record_start(said, position, SERVER, False)
            if len(said) - position < RECORD_HEADER:
                return
            position += RECORD_HEADER + (said[position + 3] << 8 | said[position + 4])
            self._header = position


def is_known_answer(data: bytes, min_version: int) -> bool:
    """Tell whether ``data`` begins with a sound ServerHello such as was met before, and no HelloRetryRequest."""
    version = _shapes.find(_key_of(data), data)
    return version is not None and version >= min_version and data[_RANDOM] != RETRY_RANDOM


def read_server_start(data: bytes, min_version: int = 0x0301) -> NeedMore | None:
    """Check the beginning of a server's stream; ``None`` if it is a sound ServerHello or a fatal alert.

    ``min_version``: the lowest that the server may choose. Raises: WireError. Cost: O(bytes).
    """
    key = _key_of(data)
    known = _shapes.find(key, data)
    if known is not None and known >= min_version:
        return None
    position = 0
    message: bytes | NeedMore | None = _message_in_one_record(data)
    in_one_record = message is not None
    while message is None:
        if data[position : position + 1] != bytes((ALERT,)):
            message = read_message(data, SERVER, position)
            break
        if position == MOST_WARNINGS * ALERT_BYTES:
            raise WireError("tls-server-alert", position)
        level = _alert_level(data, position)
        if level == FATAL:
            return None
        position += ALERT_BYTES
        if level is None:
            return NeedMore(position)
        if position == len(data):
            return NeedMore(position + ALERT_BYTES)
    if isinstance(message, NeedMore):
        return message
    try:
        version = _chosen_version(message)
    except WireError as wrong:
        raise WireError(wrong.reason, place_in_stream(data, wrong.offset, position)) from None
    if version < min_version:
        raise WireError("tls-server-version", position + RECORD_HEADER + 4)
    if in_one_record and known is None and len(message) <= LONGEST and _shapes.met(key, version):
        _shapes.learn(key, data[: len(message) + RECORD_HEADER], _own_bytes(data, len(message)), version)
    return None


def _key_of(data: bytes) -> bytes:
    """Lengths and, where it mostly is, the cipher suite: they tell servers apart."""
    return data[:9] + data[76:89]


def _own_bytes(data: bytes, message_length: int) -> Iterator[tuple[int, int]]:
    """Yield where the random, the session id and the key share of a sound ServerHello in one record begin and end."""
    yield _RANDOM.start, _RANDOM.stop
    position = _SESSION_ID + 1 + data[_SESSION_ID]
    yield _SESSION_ID + 1, position
    position += 5
    while position < RECORD_HEADER + message_length:
        kind, length = _EXTENSION.unpack_from(data, position)
        position += 4 + length
        if kind == KEY_SHARE:
            yield position - length, position


def _message_in_one_record(data: bytes) -> bytes | None:
    """Return the first message if it comes as nearly always; ``None`` says nothing."""
    if len(data) < 47 or data[0] != HANDSHAKE or data[1] != 3 or data[5] != SERVER.message:
        return None
    end = 9 + (data[6] << 16 | data[7] << 8 | data[8])
    fits = end - RECORD_HEADER <= data[3] << 8 | data[4] <= LONGEST_RECORD and end <= len(data)
    return data[RECORD_HEADER:end] if fits else None


def _alert_level(data: bytes, position: int) -> int | None:
    """Return the level of the alert whose record begins at ``position``, ``None`` while it is not there yet."""
    for offset, allowed in enumerate((b"\x15", b"\x03", None, b"\x00", b"\x02", b"\x01\x02")):
        byte = data[position + offset : position + offset + 1]
        if allowed is not None and byte not in allowed:
            reason = "tls-server-no-tls" if offset < 2 else "tls-server-alert"
            raise WireError(reason, position + offset)
    return data[position + 5] if len(data) >= position + ALERT_BYTES else None


def _chosen_version(message: bytes) -> int:
    """Check a ServerHello, header included, and return the version that it chooses.

    Raises: WireError; its offset counts from the message's first byte.
    """
    end = len(message)
    position = 4
    try:
        (version,) = _U16.unpack_from(message, position)
        if not 0x0301 <= version <= 0x0303:
            raise WireError("tls-server-version", position)
        position = 38
        position += 1 + message[position]
        if message[38] > 32 or message[position + 2]:
            raise WireError("tls-server-hello", 38)
        position += 3
        if position == end:
            return int(version)
        chosen = _extensions(message, position).get(VERSIONS)
    except (IndexError, error):
        raise WireError("tls-server-hello", min(position, end)) from None
    if chosen is None:
        return int(version)
    if len(chosen) != 2 or version != 0x0303 or chosen != b"\x03\x04":
        raise WireError("tls-server-version", position)
    return 0x0304


def _extensions(message: bytes, position: int) -> dict[int, bytes]:
    """Return the contents of all extensions by type. Raises: WireError; struct.error if a header does not fit."""
    bodies: dict[int, bytes] = {}
    (length,) = _U16.unpack_from(message, position)
    end = position + 2 + length
    if end != len(message):
        raise WireError("tls-server-hello", position)
    position += 2
    while position < end:
        kind, length = _EXTENSION.unpack_from(message, position)
        position += 4 + length
        if position > end or kind in bodies:
            raise WireError("tls-server-hello", position - 4 - length)
        bodies[kind] = message[position - length : position]
    return bodies
