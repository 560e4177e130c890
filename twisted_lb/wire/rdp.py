"""How a Remote Desktop connection begins: the X.224 connection request and its confirmation; pure.

Source: MS-RDPBCGR, sections 2.2.1.1 and 2.2.1.2; RFC 1006, section 6, for the TPKT header; ITU-T X.224, section 13.3.
"""

from typing import Final, NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

_HEADER_BYTES: Final = 11
"""Of TPKT and X.224 together."""
_MAX_BYTES: Final = 4 + 1 + 254
"""An X.224 header has at most 254 bytes behind its length, and here nothing follows it."""
_CR, _CC = 0xE0, 0xD0
_COOKIE: Final = b"Cookie: mstshash="
_NEG_REQ, _NEG_RSP, _NEG_FAILURE, _CORRELATION = 0x01, 0x02, 0x03, 0x06
_NEG_BYTES, _CORRELATION_BYTES = 8, 36
_RESTRICTED_ADMIN, _REDIRECTED_AUTHENTICATION, _HAS_CORRELATION = 0x01, 0x02, 0x08
_KNOWN_FLAGS: Final = _RESTRICTED_ADMIN | _REDIRECTED_AUTHENTICATION | _HAS_CORRELATION

PROTOCOLS: Final = {1: "tls", 2: "hybrid", 4: "rdstls", 8: "hybrid-ex", 16: "rdsaad"}
"""The bits of ``requestedProtocols``; without any it is RDP's own encryption, ``rdp``."""


class Request(NamedTuple):
    """``cookie``: of the user, ``token``: of a load balancer; ``None`` without one. ``requested``: the bits.

    ``negotiates``: whether it says which protocols it can; otherwise nothing but ``rdp`` is possible.
    """

    length: int
    cookie: str | None
    token: str | None
    negotiates: bool
    requested: int
    source_ref: bytes

    @property
    def protocols(self) -> tuple[str, ...]:
        """What it can speak, by name."""
        return tuple(name for bit, name in PROTOCOLS.items() if self.requested & bit) or ("rdp",)


class Confirmation(NamedTuple):
    """``selected``: a bit of ``PROTOCOLS``, 0 for ``rdp``, ``None`` if the server will not serve this client."""

    length: int
    selected: int | None


def _body(data: bytes, kind: int, name: str) -> bytes | NeedMore:
    """Check both headers at the front of ``data``; returns what follows them in the packet."""
    for at, byte in enumerate(b"\x03\x00"):
        if data[at : at + 1] not in (b"", bytes([byte])):
            raise WireError(f"{name}-tpkt", at)
    if len(data) < 4:
        return NeedMore(_HEADER_BYTES)
    length = int.from_bytes(data[2:4], "big")
    if not _HEADER_BYTES <= length <= _MAX_BYTES:
        raise WireError(f"{name}-tpkt", 2)
    if len(data) < _HEADER_BYTES:
        return NeedMore(_HEADER_BYTES)
    if data[4] != length - 5 or data[5] != kind or data[10]:  # class 0, and no options
        raise WireError(f"{name}-x224", 4)
    return NeedMore(length) if len(data) < length else data[_HEADER_BYTES:length]


def read_request(data: bytes) -> Request | NeedMore:
    """Read the connection request at the front of ``data``; what follows it stays the caller's.

    Raises: WireError ``rdp-tpkt``, ``rdp-x224``, ``rdp-cookie``, ``rdp-negotiation`` or ``rdp-protocols``; no other
        exception.
    """
    body = _body(data, _CR, "rdp")
    if isinstance(body, NeedMore):
        return body
    length = _HEADER_BYTES + len(body)
    if data[6:8] != b"\0\0":  # the reference of the other side, which there is none of yet
        raise WireError("rdp-x224", 6)
    cookie, token, at = _routing(body)
    negotiates, requested = _negotiation(body, at)
    return Request(length, cookie, token, negotiates, requested, data[8:10])


def _routing(body: bytes) -> tuple[str | None, str | None, int]:
    """Read the cookie or the token, if there is one: a line of text; returns where it ends."""
    if body[:1] in (b"", bytes([_NEG_REQ])):
        return None, None, 0
    end = body.find(b"\r\n")
    line = body[:end]
    if end < 0 or any(byte < 0x20 or byte == 0x7F for byte in line):
        raise WireError("rdp-cookie", _HEADER_BYTES)
    is_cookie = line.startswith(_COOKIE)
    text = line.removeprefix(_COOKIE).decode("utf-8", "backslashreplace")
    return (text, None, end + 2) if is_cookie else (None, text, end + 2)


def _negotiation(body: bytes, at: int) -> tuple[bool, int]:
    """Read which protocols the client can; whether it says so, and the bits."""
    if at == len(body):
        return False, 0
    part = body[at : at + _NEG_BYTES]
    if len(part) < _NEG_BYTES or part[0] != _NEG_REQ or part[2:4] != b"\x08\0" or part[1] & ~_KNOWN_FLAGS:
        raise WireError("rdp-negotiation", _HEADER_BYTES + at)
    requested = int.from_bytes(part[4:], "little")
    if requested & ~sum(PROTOCOLS):
        raise WireError("rdp-protocols", _HEADER_BYTES + at + 4)
    rest = body[at + _NEG_BYTES :]
    if part[1] & _HAS_CORRELATION:
        if len(rest) != _CORRELATION_BYTES or rest[:4] != bytes([_CORRELATION, 0, _CORRELATION_BYTES, 0]):
            raise WireError("rdp-negotiation", _HEADER_BYTES + at + _NEG_BYTES)
    elif rest:
        raise WireError("rdp-negotiation", _HEADER_BYTES + at + _NEG_BYTES)
    return True, requested


def read_confirmation(data: bytes, request: Request) -> Confirmation | NeedMore:
    """Read the server's confirmation of ``request`` at the front of ``data``.

    Raises: WireError ``rdp-server-tpkt``, ``-x224``, ``-negotiation`` or ``-selected``; no other exception.
    """
    body = _body(data, _CC, "rdp-server")
    if isinstance(body, NeedMore):
        return body
    length = _HEADER_BYTES + len(body)
    if not body:
        return Confirmation(length, 0)
    kind = body[0]
    if len(body) != _NEG_BYTES or kind not in (_NEG_RSP, _NEG_FAILURE) or body[2:4] != b"\x08\0":
        raise WireError("rdp-server-negotiation", _HEADER_BYTES)
    if kind == _NEG_FAILURE:
        return Confirmation(length, None)
    selected = int.from_bytes(body[4:], "little")
    if selected and (selected not in PROTOCOLS or not selected & request.requested):
        raise WireError("rdp-server-selected", _HEADER_BYTES + 4)
    return Confirmation(length, selected)


def refusal(code: int, source_ref: bytes = b"\0\0") -> bytes:
    """Return a confirmation that refuses. ``code``: of an RDP_NEG_FAILURE; ``source_ref``: of the request."""
    length = _HEADER_BYTES + _NEG_BYTES
    head = b"\x03\0" + length.to_bytes(2, "big") + bytes([length - 5, _CC]) + source_ref + b"\0\0\0"
    return head + bytes([_NEG_FAILURE, 0, _NEG_BYTES, 0]) + code.to_bytes(4, "little")
