"""The first packets of MySQL's and MariaDB's protocol: the server's greeting, and what the client answers; pure.

Source: MySQL's source documentation, "Client/Server Protocol", "Connection Phase Packets":
Protocol::HandshakeV10, Protocol::SSLRequest, Protocol::HandshakeResponse41, ERR_Packet; MariaDB's knowledge base,
"Connecting", for what it does otherwise.
"""

from enum import IntFlag
from typing import Final, NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

MAX_GREETING_BYTES: Final = 1024
"""Of the server's first packet. Real ones have about a hundred."""
MAX_RESPONSE_BYTES: Final = 64 * 1024
"""Of the client's; connection attributes may be 64 KiB to MySQL's servers, and real ones have some hundred bytes."""
MAX_VERSION_BYTES: Final = 256
MAX_USER_BYTES: Final = 512
"""MariaDB's names have 128 characters at most, MySQL's 32."""
_HEADER_BYTES: Final = 4
_FIXED_BYTES: Final = 32
"""Of a client's answer, before the user's name; an SSLRequest has nothing else."""


class Capability(IntFlag):
    """What client and server can do, as far as it decides how a packet is read."""

    CONNECT_WITH_DB = 1 << 3
    PROTOCOL_41 = 1 << 9
    SSL = 1 << 11
    SECURE_CONNECTION = 1 << 15
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC_CLIENT_DATA = 1 << 21
    ZSTD_COMPRESSION = 1 << 26


class Greeting(NamedTuple):
    """The server's first packet. ``capabilities``: what it offers, among others ``Capability``."""

    length: int
    version: str
    capabilities: int


class ErrorPacket(NamedTuple):
    """The server's first packet when it will not serve this client."""

    length: int
    code: int


class Response(NamedTuple):
    """The client's first packet. ``ssl``: it asks for TLS, and says no more until that has begun.

    ``sequence``: the number that the answer to it has to have.
    """

    length: int
    sequence: int
    ssl: bool
    user: str = ""
    database: str = ""


class _Fields:
    """Takes fields from the front of a packet's payload. Raises WireError ``reason`` when one is not whole."""

    def __init__(self, payload: bytes, reason: str) -> None:
        self._payload = payload
        self._reason = reason
        self.at = 0

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes."""
        end = self.at + count
        if end > len(self._payload):
            raise WireError(self._reason, _HEADER_BYTES + self.at)
        taken = self._payload[self.at : end]
        self.at = end
        return taken

    def number(self, count: int) -> int:
        """Take a number of ``count`` bytes, the lowest first."""
        return int.from_bytes(self.take(count), "little")

    def string(self) -> bytes:
        """Take a string and the zero byte that ends it."""
        end = self._payload.find(b"\0", self.at)
        if end < 0:
            raise WireError(self._reason, _HEADER_BYTES + self.at)
        taken = self._payload[self.at : end]
        self.at = end + 1
        return taken

    def counted(self) -> bytes:
        """Take a string with its length before it, of one byte, or of two, three or eight more."""
        first = self.number(1)
        if first > 250:
            more = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
            if more is None:
                raise WireError(self._reason, _HEADER_BYTES + self.at - 1)
            first = self.number(more)
        return self.take(first)

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._payload) - self.at)


def _payload(data: bytes, sequence: int, max_bytes: int, name: str) -> bytes | NeedMore:
    """Cut out the payload of the packet at the front, which must have the number ``sequence``."""
    if len(data) >= 3:
        length = int.from_bytes(data[:3], "little")
        if not 0 < length <= max_bytes:
            raise WireError(f"{name}-length")
    if len(data) < _HEADER_BYTES:
        return NeedMore(_HEADER_BYTES)
    if data[3] != sequence:
        raise WireError(f"{name}-sequence", 3)
    end = _HEADER_BYTES + length
    return NeedMore(end) if len(data) < end else data[_HEADER_BYTES:end]


def read_greeting(data: bytes) -> Greeting | ErrorPacket | NeedMore:
    """Read the server's first packet at the front of ``data``.

    Raises: WireError ``mysql-greeting-length``, ``-sequence``, ``-version`` (of the protocol) or ``mysql-greeting``; no
        other exception.
    """
    payload = _payload(data, 0, MAX_GREETING_BYTES, "mysql-greeting")
    if isinstance(payload, NeedMore):
        if data[4:5] not in (b"", b"\x0a", b"\xff"):
            raise WireError("mysql-greeting-version", _HEADER_BYTES)
        return payload
    length = _HEADER_BYTES + len(payload)
    fields = _Fields(payload, "mysql-greeting")
    protocol = fields.number(1)
    if protocol == 0xFF:
        return ErrorPacket(length, fields.number(2))
    if protocol != 10:
        raise WireError("mysql-greeting-version", _HEADER_BYTES)
    version = fields.string()
    if len(version) > MAX_VERSION_BYTES:
        raise WireError("mysql-greeting", _HEADER_BYTES + 1)
    fields.take(4 + 8)
    if fields.number(1):
        raise WireError("mysql-greeting", _HEADER_BYTES + fields.at - 1)
    capabilities = fields.number(2)
    if fields.at < len(payload):
        fields.take(3)
        capabilities |= fields.number(2) << 16
        fields.take(11)
    return Greeting(length, version.decode("utf-8", "backslashreplace"), capabilities)


def read_response(data: bytes, offered: int, sequence: int = 1) -> Response | NeedMore:
    """Read the client's packet at the front of ``data``. ``offered``: the server's capabilities.

    What only one side can do is not done: so the packet is read as the server reads it.
    Raises: WireError ``mysql-length``, ``-sequence``, ``-protocol``, ``-ssl-request``, ``-response``, ``-user-long`` or
        ``-trailing``; no other exception.
    """
    payload = _payload(data, sequence, MAX_RESPONSE_BYTES, "mysql")
    if isinstance(payload, NeedMore):
        return payload
    length = _HEADER_BYTES + len(payload)
    fields = _Fields(payload, "mysql-response")
    wanted = int.from_bytes(payload[:4], "little")
    if not wanted & Capability.PROTOCOL_41:  # of servers before 4.1
        raise WireError("mysql-protocol", _HEADER_BYTES)
    fields.take(_FIXED_BYTES)
    if wanted & Capability.SSL:
        if len(payload) != _FIXED_BYTES or not offered & Capability.SSL:
            raise WireError("mysql-ssl-request", _HEADER_BYTES)
        return Response(length, sequence + 1, ssl=True)
    user, database = _who(fields, wanted & offered)
    return Response(length, sequence + 1, ssl=False, user=user, database=database)


def _who(fields: _Fields, agreed: int) -> tuple[str, str]:
    """Read the user and the database, and that what else there is, is whole."""
    user = fields.string()
    if len(user) > MAX_USER_BYTES:
        raise WireError("mysql-user-long", _HEADER_BYTES + _FIXED_BYTES)
    if agreed & Capability.PLUGIN_AUTH_LENENC_CLIENT_DATA:
        fields.counted()
    elif agreed & Capability.SECURE_CONNECTION:
        fields.take(fields.number(1))
    else:
        fields.string()
    database = fields.string() if agreed & Capability.CONNECT_WITH_DB else b""
    if agreed & Capability.PLUGIN_AUTH:
        fields.string()
    if agreed & Capability.CONNECT_ATTRS:
        _check_attributes(fields.counted())
    if agreed & Capability.ZSTD_COMPRESSION:
        fields.number(1)
    at = fields.at
    if fields.rest().strip(b"\0"):  # some clients pad
        raise WireError("mysql-trailing", _HEADER_BYTES + at)
    return user.decode("utf-8", "backslashreplace"), database.decode("utf-8", "backslashreplace")


def _check_attributes(attributes: bytes) -> None:
    fields = _Fields(attributes, "mysql-response")
    while fields.at < len(attributes):
        fields.counted()
        fields.counted()


def error_packet(sequence: int, code: int, sqlstate: str, message: str) -> bytes:
    """Return the server's packet that refuses a client. ``sqlstate``: "" as long as the client has said nothing, which
    then does not expect one.
    """
    marker = f"#{sqlstate}" if sqlstate else ""
    payload = b"\xff" + code.to_bytes(2, "little") + (marker + message).encode()
    return len(payload).to_bytes(3, "little") + bytes([sequence & 0xFF]) + payload
