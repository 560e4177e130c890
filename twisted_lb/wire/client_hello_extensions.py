"""What the extensions of a ClientHello must contain; of those not named here any content is allowed.

Source: RFC 8446, section 4.2, and for the others the RFC in the comment at each.
"""

from collections.abc import Callable, Mapping
from typing import Final

from twisted_lb.wire.host_name import is_host_name

SNI, MAX_FRAGMENT_LENGTH, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 1, 10, 11, 13, 16
PADDING, COMPRESS_CERTIFICATE, RECORD_SIZE_LIMIT, PRE_SHARED_KEY = 21, 27, 28, 41
VERSIONS, PSK_MODES, CERTIFICATE_ALGORITHMS, KEY_SHARE = 43, 45, 50, 51
ECH, ESNI, RENEGOTIATION = 0xFE0D, 0xFFCE, 0xFF01


class ExtensionError(Exception):
    """The extension of type ``kind`` breaks the rule of that name."""

    def __init__(self, rule: str, kind: int) -> None:
        super().__init__(rule, kind)
        self.rule = rule
        self.kind = kind


def check_extensions(bodies: Mapping[int, bytes]) -> None:
    """Check all extensions but ``server_name``, by type and in their order.

    Raises: ExtensionError.
    """
    kind = -1
    for kind, body in bodies.items():
        check = _CHECKS.get(kind)
        if check is not None and not check(body):
            raise ExtensionError("tls-extension", kind)
    if kind != PRE_SHARED_KEY and PRE_SHARED_KEY in bodies:
        raise ExtensionError("tls-psk-not-last", PRE_SHARED_KEY)


def check_tls_1_3(bodies: Mapping[int, bytes]) -> None:
    """Check that what TLS 1.3 cannot do without is there.

    Raises: ExtensionError. Source: RFC 8446, section 9.2.
    """
    known = SIGNATURE_ALGORITHMS in bodies and GROUPS in bodies
    if (GROUPS in bodies) != (KEY_SHARE in bodies) or not (known or PRE_SHARED_KEY in bodies):
        raise ExtensionError("tls-extension-missing", VERSIONS)


def server_name_of(body: bytes) -> str:
    """Return the one host name of ``server_name``, in small letters: names of the DNS mean the same in any case.

    Raises: ExtensionError. Source: RFC 6066, section 3.
    """
    size = len(body)
    name = body[5:]
    if (
        size < 6
        or int.from_bytes(body[:2], "big") != size - 2
        or body[2]
        or int.from_bytes(body[3:5], "big") != size - 5
    ):
        raise ExtensionError("tls-sni", SNI)
    if not is_host_name(name):
        raise ExtensionError("tls-sni-name", SNI)
    return name.decode("ascii").lower()


def protocols_of(body: bytes) -> tuple[bytes, ...] | None:
    """Return the names that ALPN lists, ``None`` if it is broken. Source: RFC 7301, section 3.1."""
    size = len(body)
    if size < 4 or body[0] << 8 | body[1] != size - 2:
        return None
    names, position = [], 2
    while position < size:
        start = position + 1
        position = start + body[position]
        if start == position:
            return None
        names.append(body[start:position])
    return tuple(names) if position == size else None


def _pairs_behind_two_bytes(body: bytes) -> bool:
    size = len(body)
    return size >= 4 and not size & 1 and body[0] << 8 | body[1] == size - 2


def _pairs_behind_a_byte(body: bytes) -> bool:
    size = len(body)
    return size >= 3 and bool(size & 1) and body[0] == size - 1


def _bytes_behind_a_byte(body: bytes) -> bool:
    return len(body) >= 2 and body[0] == len(body) - 1


def _nothing(body: bytes) -> bool:
    return not body


def _key_share(body: bytes) -> bool:
    size = len(body)
    if size < 2 or body[0] << 8 | body[1] != size - 2:
        return False
    groups: set[bytes] = set()
    position = 2
    while position + 4 < size:
        group = body[position : position + 2]
        if group in groups:
            raise ExtensionError("tls-key-share-twice", KEY_SHARE)
        groups.add(group)
        length = body[position + 2] << 8 | body[position + 3]
        if not length:
            return False
        position += 4 + length
    return position == size


def _pre_shared_key(body: bytes) -> bool:
    """Two lists behind two bytes of length each: of identities, 7 bytes at least, and of binders, 33 at least."""
    identities = int.from_bytes(body[:2], "big")
    binders_start = 2 + identities
    binders = int.from_bytes(body[binders_start : binders_start + 2], "big")
    return identities >= 7 and binders >= 33 and binders_start + 2 + binders == len(body)


def _renegotiation(body: bytes) -> bool:
    if body != b"\x00" and _bytes_behind_a_byte(body):
        raise ExtensionError("tls-renegotiation", RENEGOTIATION)
    return body == b"\x00"


def _encrypted_client_hello(body: bytes) -> bool:
    """The outer form: type 0, a cipher suite (4 bytes), a configuration's id, and two fields behind two bytes each.

    The inner form is the type 1 alone: so a server sees it for which another one has decrypted it.
    """
    if body == b"\x01":
        return True
    if len(body) < 10 or body[0]:
        return False
    payload = 8 + int.from_bytes(body[6:8], "big")
    return payload + 2 + int.from_bytes(body[payload : payload + 2], "big") == len(body) > payload + 2


_CHECKS: Final[dict[int, Callable[[bytes], bool]]] = {
    MAX_FRAGMENT_LENGTH: lambda body: len(body) == 1 and 1 <= body[0] <= 4,  # RFC 6066, section 4
    GROUPS: _pairs_behind_two_bytes,
    POINT_FORMATS: _bytes_behind_a_byte,  # RFC 8422, section 5.1.2
    SIGNATURE_ALGORITHMS: _pairs_behind_two_bytes,
    ALPN: lambda body: protocols_of(body) is not None,
    18: _nothing,  # signed_certificate_timestamp: RFC 6962, section 3.3.1
    PADDING: lambda body: body.count(0) == len(body),  # RFC 7685, section 3
    22: _nothing,  # encrypt_then_mac: RFC 7366, section 2
    23: _nothing,  # extended_master_secret: RFC 7627, section 5.1
    COMPRESS_CERTIFICATE: _pairs_behind_a_byte,  # RFC 8879, section 3
    RECORD_SIZE_LIMIT: lambda body: len(body) == 2 and body >= b"\x00\x40",  # RFC 8449, section 4
    PRE_SHARED_KEY: _pre_shared_key,
    42: _nothing,  # early_data
    VERSIONS: _pairs_behind_a_byte,
    PSK_MODES: _bytes_behind_a_byte,
    49: _nothing,  # post_handshake_auth
    CERTIFICATE_ALGORITHMS: _pairs_behind_two_bytes,
    KEY_SHARE: _key_share,
    ECH: _encrypted_client_hello,  # RFC 9849, section 5
    RENEGOTIATION: _renegotiation,  # RFC 5746, section 3.2
}
