"""The CONNECT packet of MQTT 3.1, 3.1.1 and 5.0, and the beginning of what answers it; pure.

Source: MQTT V3.1 Protocol Specification (IBM, Eurotech); MQTT Version 3.1.1, sections 2.2, 3.1 and 3.2; MQTT Version
5.0, sections 2.1, 2.2.2, 3.1, 3.2 and 3.15.
"""

from typing import Final, NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

MAX_CONNECT_BYTES: Final = 64 * 1024
"""Of the whole packet; the specification allows 256 MiB, of which nobody needs more than a will's payload."""

_BRIDGE: Final = 0x80
"""Added to the level by a broker that is another one's client; Mosquitto's do so unless told otherwise."""
LEVELS: Final = {
    (b"MQIsdp", 3): "3.1",
    (b"MQIsdp", 3 | _BRIDGE): "3.1",
    (b"MQTT", 4): "3.1.1",
    (b"MQTT", 4 | _BRIDGE): "3.1.1",
    (b"MQTT", 5): "5.0",
}

_CONNECT, _CONNACK, _AUTH = 0x10, 0x20, 0xF0
_CLEAN, _WILL, _WILL_QOS, _WILL_RETAIN, _PASSWORD, _USER = 0x02, 0x04, 0x18, 0x20, 0x40, 0x80

_BYTE, _TWO, _FOUR, _TEXT, _BINARY, _PAIR = range(6)
_AUTH_METHOD, _AUTH_DATA, _USER_PROPERTY = 0x15, 0x16, 0x26
_CONNECT_PROPERTIES: Final = {
    0x11: _FOUR,
    _AUTH_METHOD: _TEXT,
    _AUTH_DATA: _BINARY,
    0x17: _BYTE,
    0x19: _BYTE,
    0x21: _TWO,
    0x22: _TWO,
    _USER_PROPERTY: _PAIR,
    0x27: _FOUR,
}
_WILL_PROPERTIES: Final = {
    0x01: _BYTE,
    0x02: _FOUR,
    0x03: _TEXT,
    0x08: _TEXT,
    0x09: _BINARY,
    0x18: _FOUR,
    _USER_PROPERTY: _PAIR,
}
_NOT_ZERO: Final = (0x21, 0x27)


class Connect(NamedTuple):
    """What a client introduces itself with. ``version``: ``3.1``, ``3.1.1`` or ``5.0``; ``user``: ``None`` without one.

    ``auth_method``: if there is one, several packets may go to and fro before the CONNACK.
    """

    length: int
    version: str
    client_id: str
    user: str | None = None
    auth_method: str | None = None


class _Fields:
    """Takes fields from a packet between ``at`` and ``end``. Raises WireError ``mqtt-field`` when one is not whole."""

    __slots__ = ("_data", "at", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self.at = at
        self.end = end

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes."""
        stop = self.at + count
        if stop > self.end:
            raise WireError("mqtt-field", self.at)
        taken = self._data[self.at : stop]
        self.at = stop
        return taken

    def number(self, count: int) -> int:
        """Take a number of ``count`` bytes."""
        return int.from_bytes(self.take(count), "big")

    def binary(self) -> bytes:
        """Take bytes with their number before them."""
        return self.take(self.number(2))

    def text(self) -> str:
        """Take a string; U+0000 and surrogates are none of UTF-8's characters here (section 1.5.3 of 3.1.1)."""
        at = self.at
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise WireError("mqtt-text", at) from None
        if "\0" in text:
            raise WireError("mqtt-text", at)
        return text

    def part(self) -> "_Fields":
        """Take a part with its length before it, as ``read_length`` reads that."""
        found = read_length(self._data[self.at : min(self.at + 4, self.end)], 0)
        if found is None or self.at + found[1] + found[0] > self.end:
            raise WireError("mqtt-field", self.at)
        length, used = found
        part = _Fields(self._data, self.at + used, self.at + used + length)
        self.at = part.end
        return part


def read_length(data: bytes, at: int) -> tuple[int, int] | None:
    """Read a number of one to four bytes at ``at``, seven bits each; returns it and its bytes, ``None`` if incomplete.

    Raises: WireError ``mqtt-length`` if it has more bytes, or more than it needs.
    """
    value = 0
    for place in range(4):
        if at + place >= len(data):
            return None
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if place and not byte:
                raise WireError("mqtt-length", at + place)
            return value, place + 1
    raise WireError("mqtt-length", at + 3)


def read_connect(data: bytes) -> Connect | NeedMore:
    """Read the CONNECT packet at the front of ``data``; what follows it stays the caller's.

    Raises: WireError ``mqtt-packet`` (it is another one), ``-length``, ``-protocol``, ``-version``, ``-flags``,
        ``-field``, ``-text``, ``-properties``, ``-client-id``, ``-will`` or ``-trailing``; no other exception.
    Cost: linear; while the packet is incomplete, constant.
    """
    if data[:1] not in (b"", bytes([_CONNECT])):
        raise WireError("mqtt-packet")
    found = read_length(data, 1)
    if found is None:
        return NeedMore(len(data) + 1)
    length, used = found
    start = 1 + used
    end = start + length
    if end > MAX_CONNECT_BYTES:
        raise WireError("mqtt-length", 1)
    if length < 10:
        raise WireError("mqtt-field", start)
    if len(data) >= start + 10:
        version_of(data[start : start + 10], start)
    if len(data) < end:
        return NeedMore(end if len(data) >= start + 10 else start + 10)
    return _connect(data, start, end)


def version_of(head: bytes, at: int = 0) -> str:
    """Tell the version by the protocol's name and level, which begin the packet's variable part; 9 bytes are enough.

    Raises: WireError ``mqtt-protocol`` if it is not MQTT, ``mqtt-version`` if it is, of another version.
    """
    size = int.from_bytes(head[:2], "big")
    name = head[2 : 2 + size]
    level = head[2 + size] if size <= 6 else -1
    version = LEVELS.get((name, level))
    if version is not None:
        return version
    if name in (b"MQTT", b"MQIsdp"):
        raise WireError("mqtt-version", at + 2 + size)
    raise WireError("mqtt-protocol", at)


def _connect(data: bytes, start: int, end: int) -> Connect:
    version = version_of(data[start : start + 10], start)
    fields = _Fields(data, start, end)
    fields.binary()
    fields.number(1)
    flags = fields.number(1)
    _check_flags(flags, version, fields.at - 1)
    fields.number(2)
    five = version == "5.0"
    auth_method = _properties(fields.part(), _CONNECT_PROPERTIES).get(_AUTH_METHOD) if five else None
    at = fields.at
    client_id = fields.text()
    if not client_id and not (five or (version == "3.1.1" and flags & _CLEAN)):
        raise WireError("mqtt-client-id", at)
    if flags & _WILL:
        _will(fields, five)
    user = fields.text() if flags & _USER else None
    if flags & _PASSWORD:
        fields.binary()
    if fields.at != end:
        raise WireError("mqtt-trailing", fields.at)
    return Connect(end, version, client_id, user, auth_method)


def _check_flags(flags: int, version: str, at: int) -> None:
    reserved = flags & 0x01 and version != "3.1"  # which leaves the bit unused, and says nothing about it
    will = flags & (_WILL_QOS | _WILL_RETAIN) if not flags & _WILL else flags & _WILL_QOS == _WILL_QOS
    password = version != "5.0" and flags & _PASSWORD and not flags & _USER
    if reserved or will or password:
        raise WireError("mqtt-flags", at)


def _will(fields: _Fields, five: bool) -> None:
    if five:
        _properties(fields.part(), _WILL_PROPERTIES)
    at = fields.at
    topic = fields.text()
    if not topic or "+" in topic or "#" in topic:
        raise WireError("mqtt-will", at)
    fields.binary()


def _properties(fields: _Fields, known: dict[int, int]) -> dict[int, str]:
    """Read properties, each of which may be there once, but for those of users; returns which there are, with texts."""
    seen: dict[int, str] = {}
    while fields.at < fields.end:
        at = fields.at
        name = fields.number(1)  # a number as lengths are, but all there are have one byte
        if name not in known or (name in seen and name != _USER_PROPERTY):
            raise WireError("mqtt-properties", at)
        seen[name] = _property(fields, known[name], name, at)
    if _AUTH_DATA in seen and _AUTH_METHOD not in seen:
        raise WireError("mqtt-properties", fields.at)
    return seen


def _property(fields: _Fields, kind: int, name: int, at: int) -> str:
    """Read the value of a property; returns it if it is a text."""
    if kind in (_BYTE, _TWO, _FOUR):
        number = fields.number({_BYTE: 1, _TWO: 2, _FOUR: 4}[kind])
        if number > 1 if kind == _BYTE else not number and name in _NOT_ZERO:
            raise WireError("mqtt-properties", at)
        return ""
    if kind == _BINARY:
        fields.binary()
        return ""
    text = fields.text()
    return fields.text() if kind == _PAIR else text


def read_answer(data: bytes, version: str, auth_method: str | None) -> bool | NeedMore:
    """Look at the front of the server's first packet; ``True`` if it may answer such a ``Connect``.

    Raises: WireError ``mqtt-answer``; no other exception.
    """
    five = version == "5.0"
    allowed = bytes([_CONNACK] if auth_method is None else [_CONNACK, _AUTH])
    if data[0] not in allowed:
        raise WireError("mqtt-answer")
    try:
        found = read_length(data, 1)
    except WireError as error:
        raise WireError("mqtt-answer", error.offset) from None
    if found is None:
        return NeedMore(len(data) + 1)
    length, used = found
    if data[0] == _AUTH:
        return True
    if (length < 3) if five else (length != 2):
        raise WireError("mqtt-answer", 1)
    flags_at = 1 + used
    if len(data) < flags_at + 2:
        return NeedMore(flags_at + 2)
    flags, code = data[flags_at], data[flags_at + 1]
    if flags > 1 or (five and 0 < code < 0x80) or (not five and code > 5):
        raise WireError("mqtt-answer", flags_at)
    return True


def refusal(version: str, code: int) -> bytes:
    """Return the CONNACK that refuses a client; ``code``: of the version's own list."""
    return bytes([_CONNACK, 3, 0, code, 0] if version == "5.0" else [_CONNACK, 2, 0, code])
