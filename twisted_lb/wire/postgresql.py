"""What a PostgreSQL client says first; pure.

Source: PostgreSQL's documentation, chapter "Frontend/Backend Protocol": "Message Flow" and "Message Formats"; for what
it leaves out, its source: ``src/backend/tcop/postmaster.c``, ProcessStartupPacket.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

Kind = Literal["startup", "ssl", "gss", "cancel"]

MAX_PACKET_BYTES: Final = 10_000
"""The server's own limit, MAX_STARTUP_PACKET_LENGTH."""
MAX_NAME_BYTES: Final = 63
"""Servers before 17 cut names of users and databases off here, so that a longer one is another one's name to them."""
MAX_KEY_BYTES: Final = 256
"""Of a cancel request, in version 3.2 of the protocol; in 3.0 it is always 4 bytes."""

_HEADER_BYTES: Final = 8
_CANCEL, _SSL, _GSS = (1234 << 16 | number for number in (5678, 5679, 5680))
_FALSE: Final = {b"false"[:end] for end in range(1, 6)} | {b"no"[:end] for end in range(1, 3)} | {b"of", b"off", b"0"}


class StartupPacket(NamedTuple):
    """The first packet, or one that follows when the server will not encrypt.

    ``length``: of the packet in bytes, its header included. ``minor``: of the protocol's version 3.
    ``parameters``: of kind ``startup``, with ``user`` among them; none otherwise.
    """

    kind: Kind
    length: int
    minor: int = 0
    parameters: Mapping[bytes, bytes] = {}

    @property
    def user(self) -> str:
        r"""The user's name; bytes that are not UTF-8 are spelt as ``\xNN``."""
        return text(self.parameters[b"user"])

    @property
    def replication(self) -> bool:
        """Whether it asks for replication and not for queries."""
        return self.parameters.get(b"replication", b"false").lower() not in _FALSE

    @property
    def database(self) -> str | None:
        """The database, by default that of the user's name; physical replication has none."""
        if self.replication and self.parameters[b"replication"] != b"database":
            return None
        return text(self.parameters.get(b"database") or self.parameters[b"user"])


def text(name: bytes) -> str:
    """Decode a name whose encoding the protocol leaves open."""
    return name.decode("utf-8", "backslashreplace")


def read_startup_packet(data: bytes) -> StartupPacket | NeedMore:
    """Read the packet at the front of ``data``; what follows it stays the caller's.

    Raises: WireError ``postgresql-length``, ``-version``, ``-request``, ``-parameters``, ``-user``, ``-repeated`` or
        ``-name-long``, at the first byte that cannot be right; no other exception.
    Cost: linear; while the packet is incomplete, constant.
    """
    wrong = next((at for at, byte in enumerate(data[:2]) if byte), None)
    if wrong is not None:  # no length of a packet has these: more often than not it is another protocol
        raise WireError("postgresql-length", wrong)
    if len(data) < 4:
        return NeedMore(_HEADER_BYTES)
    length = int.from_bytes(data[:4], "big")
    if not _HEADER_BYTES <= length <= MAX_PACKET_BYTES:
        raise WireError("postgresql-length", 2)
    if len(data) < _HEADER_BYTES:
        return NeedMore(_HEADER_BYTES)
    code = int.from_bytes(data[4:8], "big")
    if code in (_SSL, _GSS, _CANCEL):
        return _request(code, data, length)
    if code >> 16 != 3:
        raise WireError("postgresql-version", 4)
    if len(data) < length:
        return NeedMore(length)
    return StartupPacket("startup", length, code & 0xFFFF, _parameters(data[_HEADER_BYTES:length]))


def _request(code: int, data: bytes, length: int) -> StartupPacket | NeedMore:
    """Read what is not a startup message but has its form."""
    key_bytes = length - 12
    fits = 4 <= key_bytes <= MAX_KEY_BYTES if code == _CANCEL else length == _HEADER_BYTES
    if not fits:
        raise WireError("postgresql-request", 4)
    if len(data) < length:
        return NeedMore(length)
    kinds: dict[int, Kind] = {_SSL: "ssl", _GSS: "gss", _CANCEL: "cancel"}
    return StartupPacket(kinds[code], length)


def _parameters(body: bytes) -> dict[bytes, bytes]:
    """Read names and values, each ended by a zero byte, and one more at the very end."""
    *fields, rest = body.split(b"\0")
    if rest or not fields or fields.pop():
        raise WireError("postgresql-parameters", _HEADER_BYTES + len(body))
    names, values = fields[::2], fields[1::2]
    if len(names) != len(values) or b"" in names:
        raise WireError("postgresql-parameters", _HEADER_BYTES)
    parameters = dict(zip(names, values, strict=True))
    if len(parameters) != len(names):  # the server takes the last one, and another program perhaps the first
        raise WireError("postgresql-repeated", _HEADER_BYTES)
    if not parameters.get(b"user"):
        raise WireError("postgresql-user", _HEADER_BYTES)
    if any(len(parameters.get(name, b"")) > MAX_NAME_BYTES for name in (b"user", b"database")):
        raise WireError("postgresql-name-long", _HEADER_BYTES)
    return parameters


def error_response(sqlstate: str, message: str) -> bytes:
    """Return the server's message that ends a connection. ``sqlstate``: five characters, such as ``08P01``."""
    fields = [b"SFATAL", b"VFATAL", b"C" + sqlstate.encode(), b"M" + message.encode()]
    body = b"".join(field + b"\0" for field in fields) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body
