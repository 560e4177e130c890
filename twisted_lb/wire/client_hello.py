"""The ClientHello: what a client of TLS says first.

Everything whose meaning does not depend on what the server answers is checked: lengths, doubled extensions, and the
contents of the extensions that decide about where a connection goes. Source: RFC 8446, section 4.1.2 (TLS 1.3); RFC
5246, section 7.4.1.2 (TLS 1.2); RFC 8701 (GREASE: values that mean nothing and may stand anywhere).
"""

from struct import Struct, error, unpack
from typing import Final, NamedTuple, NoReturn

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello_extensions import (
    ALPN,
    CACHED_BYTES,
    CHECKS,
    ECH,
    ESNI,
    GROUPS,
    POINT_FORMATS,
    PRE_SHARED_KEY,
    REMEMBERED,
    SIGNATURE_ALGORITHMS,
    SNI,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    ExtensionError,
    check_tls_1_3,
    protocols_of,
    server_name_of,
    versions_of,
)
from twisted_lb.wire.client_hello_own import own_bytes
from twisted_lb.wire.hello_shapes import LONGEST, Shapes
from twisted_lb.wire.tls_records import (
    CLIENT,
    HANDSHAKE,
    LONGEST_RECORD,
    MESSAGE_HEADER,
    RECORD_HEADER,
    place_in_stream,
    read_message,
)

VERSION_NAMES: Final = {0x0300: "ssl3", 0x0301: "1.0", 0x0302: "1.1", TLS_1_2: "1.2", TLS_1_3: "1.3"}
_U16: Final = Struct(">H")
_EXTENSION: Final = Struct(">HH")
_RANDOM_ENDS: Final = 38
"""Behind the message's type and length, the version and the random."""


class ClientHello(NamedTuple):
    """A ClientHello as far as anyone may want to know; lists of numbers stay as they came, GREASE included.

    ``legacy_version``: what TLS 1.2 and earlier knew for the version. ``versions``: all that are offered, or the one
    that stands for itself and all before it. ``version``: the highest known one. ``server_name``: in small letters.
    ``protocols``: of ALPN. ``cipher_suites``, ``groups``, ``signature_algorithms``: two bytes each.
    ``point_formats``: a byte each. ``ech``: whether it has the outer shape of Encrypted ClientHello, also by its draft
    name ESNI. ``size``: bytes of the client's stream that it takes, with its records.
    """

    legacy_version: int
    versions: tuple[int, ...]
    version: int
    server_name: str | None
    protocols: tuple[bytes, ...]
    extensions: tuple[int, ...]
    cipher_suites: bytes
    groups: bytes
    signature_algorithms: bytes
    point_formats: bytes
    ech: bool
    size: int


class Alike(NamedTuple):
    """ClientHellos of one shape. ``hellos``: by the name that they ask for, which stands at ``name``."""

    name: slice
    hellos: dict[bytes, ClientHello]


NAMES_OF_A_SHAPE: Final = 128
"""Remembered at most."""
_NAME: Final = ClientHello._fields.index("server_name")
_shapes: Final = Shapes[Alike]()
_LENGTHS: Final = slice(9)
_SUITES: Final = slice(76, 124)
"""Where most programs have the first of their cipher suites, which tell them apart."""


def read_client_hello(data: bytes) -> ClientHello | NeedMore:
    """Read the ClientHello at the front of a client's stream; what follows its last record does not matter.

    Returns: ``NeedMore`` while it is incomplete; ``at_least`` never exceeds the number of bytes that it takes.
    Raises: WireError with a name out of ``tls_rules.RULES``; no other exception, whatever the bytes.
    Cost: O(bytes). Keeps no state but what saves it time, so cuts cannot matter.
    """
    key = data[_LENGTHS] + data[_SUITES]
    alike = _shapes.find(key, data)
    if alike is not None:
        hello = alike.hellos.get(data[alike.name])
        if hello is not None:
            return hello
    if data and data[0] != HANDSHAKE:
        return _read_no_record(data)
    in_one_record = _is_one_record(data)
    message = data[RECORD_HEADER:] if in_one_record else read_message(data, CLIENT)
    if isinstance(message, NeedMore):
        return message
    try:
        hello = _parse(message, len(data) if in_one_record else place_in_stream(data, len(message) - 1) + 1)
    except WireError as wrong:
        raise WireError(wrong.reason, place_in_stream(data, wrong.offset)) from None
    if alike is not None:
        hello = _with_name(alike, data[alike.name], hello.server_name)
    elif in_one_record and len(data) <= LONGEST and _shapes.met(key, (*hello[:_NAME], *hello[_NAME + 1 :])):
        own, name = own_bytes(data)
        _shapes.learn(key, data, own, Alike(slice(*name), {data[slice(*name)]: hello}))
    return hello


def _with_name(alike: Alike, spelt: bytes, name: str | None) -> ClientHello:
    """Return the hello of this shape with that name, and remember it; all of them share what they have in common."""
    one = next(iter(alike.hellos.values()))
    if len(alike.hellos) >= NAMES_OF_A_SHAPE:
        alike.hellos.clear()
    hello = alike.hellos[spelt] = one._replace(server_name=name)
    return hello


def _is_one_record(data: bytes) -> bool:
    """Tell whether this is a ClientHello in one record, as nearly always, and nothing else."""
    size = len(data) - RECORD_HEADER
    return (
        MESSAGE_HEADER < size <= LONGEST_RECORD
        and data[0] == HANDSHAKE
        and data[1] == 3
        and data[3] << 8 | data[4] == size
        and data[5] == CLIENT.message
        and data[6] << 16 | data[7] << 8 | data[8] == size - MESSAGE_HEADER
    )


def _read_no_record(data: bytes) -> NeedMore:
    """Tell SSLv2 from what is no TLS at all: two bytes of length with the highest bit set, type 1, a version."""
    if not data[0] & 0x80 or data[2:3] not in (b"", b"\x01") or data[3:4] not in (b"", b"\x00", b"\x03"):
        raise WireError("tls-no-tls")
    if len(data) < 5:
        return NeedMore(5)
    raise WireError("tls-sslv2" if data[3] == 3 or data[4] == 2 else "tls-no-tls")


def _parse(message: bytes, size: int) -> ClientHello:
    """Take the message apart; offsets of errors count from its first byte. ``size``: of the hello in its stream."""
    end, position = len(message), _RANDOM_ENDS
    try:
        legacy_version = message[4] << 8 | message[5]
        session_id_length = message[position]
        if legacy_version >> 8 != 3 or legacy_version == 0x0300:
            raise WireError("tls-sslv3" if legacy_version == 0x0300 else "tls-version", 4)
        if session_id_length > 32:
            raise WireError("tls-session-id", position)
        position += 1 + session_id_length
        (suites_length,) = _U16.unpack_from(message, position)
        suites_start = position + 2
        position = suites_start + suites_length
        compression_start = position + 1
        position = compression_start + message[position]
        if not suites_length or suites_length & 1:
            raise WireError("tls-ciphers", suites_start - 2)
        compression = message[compression_start:position]
        if position > end:
            raise WireError("tls-length", compression_start - 1)
        if 0 not in compression:
            raise WireError("tls-compression", compression_start)
        bodies = _extensions(message, position)
    except (IndexError, error):
        raise WireError("tls-length", min(position, end)) from None
    get = bodies.get
    sni, alpn, listed = get(SNI), get(ALPN), get(VERSIONS)
    try:
        # Before supported_versions a client names the highest that it can; a server answers with what it knows.
        old = min(legacy_version, TLS_1_2)
        versions, version = ((old,), old) if listed is None else versions_of(listed)
        if version == TLS_1_3:
            check_tls_1_3(bodies)
        if PRE_SHARED_KEY in bodies and next(reversed(bodies)) != PRE_SHARED_KEY:
            raise ExtensionError("tls-psk-not-last", PRE_SHARED_KEY)
        server_name = None if sni is None else server_name_of(sni)
    except ExtensionError as wrong:
        raise WireError(wrong.rule, _place_of(message, wrong.kind, position)) from None
    if version == TLS_1_3 and compression != b"\x00":
        raise WireError("tls-compression", compression_start)
    return ClientHello(
        legacy_version,
        versions,
        version,
        server_name,
        () if alpn is None else protocols_of(alpn),
        tuple(bodies),
        message[suites_start : suites_start + suites_length],
        get(GROUPS, b"")[2:],
        get(SIGNATURE_ALGORITHMS, b"")[2:],
        get(POINT_FORMATS, b"")[1:],
        ECH in bodies or ESNI in bodies,
        size,
    )


def _extensions(message: bytes, position: int) -> dict[int, bytes]:
    """Return the contents of all extensions by type, in their order, checked; before TLS 1.2 there may be none at all.

    Raises: WireError; struct.error if a header does not fit.
    """
    bodies: dict[int, bytes] = {}
    end = len(message)
    if position == end:
        return bodies
    (length,) = _U16.unpack_from(message, position)
    if position + 2 + length != end:
        raise WireError("tls-length", position)
    first = position = position + 2
    unpack_header, count = _EXTENSION.unpack_from, 0
    while position < end:
        kind, length = unpack_header(message, position)
        start = position + 4
        position = start + length
        bodies[kind] = message[start:position]
        count += 1
    if position > end or len(bodies) < count:
        _blame_extension(message, first)
    for kind, body in bodies.items():
        check = REMEMBERED.get(kind) if len(body) <= CACHED_BYTES else None
        if check is None:
            check = CHECKS.get(kind)
        rule = "" if check is None else check(body)
        if rule:
            raise WireError(rule, _place_of(message, kind, first - 2))
    return bodies


def _blame_extension(message: bytes, position: int) -> NoReturn:
    """Say where the list of extensions is broken. Raises: WireError."""
    seen: set[int] = set()
    while True:
        kind, length = _EXTENSION.unpack_from(message, position)
        if position + 4 + length > len(message):
            raise WireError("tls-length", position + 2)
        if kind in seen:
            raise WireError("tls-extension-twice", position)
        seen.add(kind)
        position += 4 + length


def _place_of(message: bytes, wanted: int, position: int) -> int:
    """Return where the extension of type ``wanted`` begins, among those whose list begins at ``position``."""
    position += 2
    while position < len(message):
        kind, length = _EXTENSION.unpack_from(message, position)
        if kind == wanted:
            return position
        position += 4 + length
    return position


def is_grease(number: int) -> bool:
    """Tell whether a number of two bytes is one of those that RFC 8701 reserves to mean nothing."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def numbers_of(pairs: bytes) -> list[int]:
    """Return the numbers of two bytes each in ``pairs``, without GREASE."""
    return [number for number in unpack(f">{len(pairs) // 2}H", pairs) if not is_grease(number)]
