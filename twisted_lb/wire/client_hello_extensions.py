"""What the extensions of a ClientHello must contain; of those not named here any content is allowed.

Source: RFC 8446, section 4.2, and for the others the RFC in the comment at each.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import unpack
from typing import Final

from twisted_lb.wire.host_name import is_host_name

SNI, MAX_FRAGMENT_LENGTH, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 1, 10, 11, 13, 16
PADDING, COMPRESS_CERTIFICATE, RECORD_SIZE_LIMIT, SESSION_TICKET, PRE_SHARED_KEY = 21, 27, 28, 35, 41
EARLY_DATA, VERSIONS, PSK_MODES, CERTIFICATE_ALGORITHMS, KEY_SHARE = 42, 43, 45, 50, 51
ECH, ESNI, RENEGOTIATION = 0xFE0D, 0xFFCE, 0xFF01
TLS_1_0, TLS_1_2, TLS_1_3 = 0x0301, 0x0303, 0x0304
CACHED_BYTES: Final = 512
"""Contents up to this length are remembered: clients are many, but there are few ways to fill these in."""


class ExtensionError(Exception):
    """The extension of type ``kind`` breaks the rule of that name."""

    def __init__(self, rule: str, kind: int) -> None:
        super().__init__(rule, kind)
        self.rule = rule
        self.kind = kind


def check_tls_1_3(bodies: Mapping[int, bytes]) -> None:
    """Check that what TLS 1.3 cannot do without is there.

    Raises: ExtensionError. Source: RFC 8446, section 9.2.
    """
    known = SIGNATURE_ALGORITHMS in bodies and GROUPS in bodies
    if (GROUPS in bodies) != (KEY_SHARE in bodies) or not (known or PRE_SHARED_KEY in bodies):
        raise ExtensionError("tls-extension-missing", VERSIONS)


@lru_cache(maxsize=1024)
def server_name_of(body: bytes) -> str:
    """Return the one host name of ``server_name``, in small letters: names of the DNS mean the same in any case.

    Raises: ExtensionError. Source: RFC 6066, section 3.
    """
    rest, name = len(body) - 2, body[5:]
    if not name or body[:3] != bytes((rest >> 8, rest & 0xFF, 0)) or body[3] << 8 | body[4] != len(name):
        raise ExtensionError("tls-sni", SNI)
    if not is_host_name(name):
        raise ExtensionError("tls-sni-name", SNI)
    return name.decode("ascii").lower()


def versions_of(body: bytes) -> tuple[tuple[int, ...], int]:
    """Return the versions that ``supported_versions`` lists, and the highest that is known.

    Raises: ExtensionError if none is. Source: RFC 8446, section 4.2.1.
    """
    versions, version = _read_versions(body)
    if not version:
        raise ExtensionError("tls-version", VERSIONS)
    return versions, version


@lru_cache(maxsize=256)
def _read_versions(body: bytes) -> tuple[tuple[int, ...], int]:
    versions = unpack(f">{len(body) // 2}H", body[1:])
    return versions, max((one for one in versions if TLS_1_0 <= one <= TLS_1_3), default=0)


def protocols_of(body: bytes) -> tuple[bytes, ...]:
    """Return the names that ALPN lists, none if it is broken. Source: RFC 7301, section 3.1."""
    return _read_protocols(body) if len(body) <= CACHED_BYTES else _read_protocols.__wrapped__(body)


@lru_cache(maxsize=256)
def _read_protocols(body: bytes) -> tuple[bytes, ...]:
    size = len(body)
    if size < 4 or body[0] << 8 | body[1] != size - 2:
        return ()
    names, position = [], 2
    while position < size:
        start = position + 1
        position = start + body[position]
        if start == position:
            return ()
        names.append(body[start:position])
    return tuple(names) if position == size else ()


BROKEN: Final = "tls-extension"


def _pairs_behind_two_bytes(body: bytes) -> str:
    size = len(body)
    return "" if size >= 4 and not size & 1 and body[0] << 8 | body[1] == size - 2 else BROKEN


def _pairs_behind_a_byte(body: bytes) -> str:
    size = len(body)
    return "" if size >= 3 and size & 1 and body[0] == size - 1 else BROKEN


def _bytes_behind_a_byte(body: bytes) -> str:
    return "" if len(body) >= 2 and body[0] == len(body) - 1 else BROKEN


def _nothing(body: bytes) -> str:
    return BROKEN if body else ""


def _alpn(body: bytes) -> str:
    return "" if protocols_of(body) else BROKEN


def _zeros(body: bytes) -> str:
    return "" if body.count(0) == len(body) else BROKEN


def _fragment_length(body: bytes) -> str:
    return "" if body in (b"\x01", b"\x02", b"\x03", b"\x04") else BROKEN


def _record_limit(body: bytes) -> str:
    return "" if len(body) == 2 and body >= b"\x00\x40" else BROKEN


def _key_share(body: bytes) -> str:
    size = len(body)
    if size < 2 or body[0] << 8 | body[1] != size - 2:
        return BROKEN
    groups: set[bytes] = set()
    position = 2
    while position + 4 < size:
        group = body[position : position + 2]
        if group in groups:
            return "tls-key-share-twice"
        groups.add(group)
        length = body[position + 2] << 8 | body[position + 3]
        if not length:
            return BROKEN
        position += 4 + length
    return "" if position == size else BROKEN


def _pre_shared_key(body: bytes) -> str:
    """Two lists behind two bytes of length each: of identities, 7 bytes at least, and of binders, 33 at least."""
    identities = int.from_bytes(body[:2], "big")
    binders_start = 2 + identities
    binders = int.from_bytes(body[binders_start : binders_start + 2], "big")
    sound = identities >= 7 and binders >= 33 and binders_start + 2 + binders == len(body)
    return "" if sound else BROKEN


def _renegotiation(body: bytes) -> str:
    if body == b"\x00":
        return ""
    return BROKEN if _bytes_behind_a_byte(body) else "tls-renegotiation"


def _encrypted_client_hello(body: bytes) -> str:
    """The outer form: type 0, a cipher suite (4 bytes), a configuration's id, and two fields behind two bytes each.

    The inner form is the type 1 alone: so a server sees it for which another one has decrypted it.
    """
    if body == b"\x01":
        return ""
    if len(body) < 10 or body[0]:
        return BROKEN
    payload = 8 + int.from_bytes(body[6:8], "big")
    sound = payload + 2 + int.from_bytes(body[payload : payload + 2], "big") == len(body) > payload + 2
    return "" if sound else BROKEN


CHECKS: Final[Mapping[int, Callable[[bytes], str]]] = {
    MAX_FRAGMENT_LENGTH: _fragment_length,  # RFC 6066, section 4
    GROUPS: _pairs_behind_two_bytes,
    POINT_FORMATS: _bytes_behind_a_byte,  # RFC 8422, section 5.1.2
    SIGNATURE_ALGORITHMS: _pairs_behind_two_bytes,
    ALPN: _alpn,
    18: _nothing,  # signed_certificate_timestamp: RFC 6962, section 3.3.1
    PADDING: _zeros,  # RFC 7685, section 3
    22: _nothing,  # encrypt_then_mac: RFC 7366, section 2
    23: _nothing,  # extended_master_secret: RFC 7627, section 5.1
    COMPRESS_CERTIFICATE: _pairs_behind_a_byte,  # RFC 8879, section 3
    RECORD_SIZE_LIMIT: _record_limit,  # RFC 8449, section 4
    PRE_SHARED_KEY: _pre_shared_key,
    EARLY_DATA: _nothing,
    VERSIONS: _pairs_behind_a_byte,
    PSK_MODES: _bytes_behind_a_byte,
    49: _nothing,  # post_handshake_auth
    CERTIFICATE_ALGORITHMS: _pairs_behind_two_bytes,
    KEY_SHARE: _key_share,
    ECH: _encrypted_client_hello,  # RFC 9849, section 5
    RENEGOTIATION: _renegotiation,  # RFC 5746, section 3.2
}
"""What checks the content of an extension, by type, without ``server_name``: answers with the rule broken, or ""."""

REMEMBERED: Final[Mapping[int, Callable[[bytes], str]]] = {
    kind: lru_cache(256)(check)
    for kind, check in CHECKS.items()
    if kind not in (PADDING, PRE_SHARED_KEY, KEY_SHARE, ECH, RENEGOTIATION)
}
"""The same for contents that are no different from one connection of a client to the next; up to ``CACHED_BYTES``."""
