"""What a server may take a path for: every reading of it, so that a decision can be made that holds for all of them.

Servers and frameworks differ: some decode a path once, some twice, some first merge slashes, take a backslash for one,
drop what follows a ``;`` in a segment, or resolve ``..``, each in an order of its own. A path on which they differ is
how access rules of proxies are bypassed, so nothing here guesses which of them will read it.

Source: RFC 3986, sections 2.1, 3.3, 5.2.4 and 6.2.2; RFC 9110, section 4.2.3; Orange Tsai, "Breaking Parser Logic",
2018; the bypasses collected as CVE-2021-41773, CVE-2018-1271 and "proxy path confusion".
"""

import re
from collections.abc import Callable

MAX_ODD_PATH = 4096
"""Bytes of a path that can be read in several ways; longer ones are not worth the time."""

_ODD = re.compile(rb"[%;\\]|//|/\.\.?(?:/|\Z)")
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_QUERY = re.compile(rb"[?#]")
_STRUCTURE = frozenset(b"/\\;%?#")
"""What means something else when it is encoded: decoded by some servers, and by others not."""
_SENSELESS = re.compile(rb"[\x00-\x1f\x7f]|[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]")
"""Control characters, and overlong UTF-8: old decoders take the bytes C0 AE for a dot."""


def path_readings(path: bytes) -> frozenset[bytes] | None:
    """Return everything that ``path`` may be taken for, decoded; usually that is one.

    Returns: ``None`` if it makes no sense: a ``%`` without two digits behind it, an encoded control character, a
        character in more bytes than UTF-8 has for it, a ``..`` that leads above the root, or more than ``MAX_ODD_PATH``
        bytes that could be read in several ways.
    Cost: linear in the path's length, times at most 128 readings.
    """
    if _ODD.search(path) is None:
        return frozenset((path,))
    if len(path) > MAX_ODD_PATH:
        return None
    readings: set[bytes] = {_decoded_once(path)}
    for read in _READ_AS:
        readings |= {read(one) for one in readings}
    malformed = _MALFORMED.search(path) is not None
    if malformed or any(_SENSELESS.search(one) or _leads_above(one) for one in readings):
        return None
    return frozenset(readings)


def plain_path(text: str) -> bytes:
    """Return a path of the configuration as paths are read. Raises ValueError if it can be read in several ways."""
    readings = path_readings(text.encode())
    if readings is None or len(readings) != 1:
        raise ValueError(f"can be read in several ways: {text!r}")
    return next(iter(readings))


def path_fault(text: str) -> str:
    """Say why no request has a path of the configuration, as paths are compared; empty if one may."""
    if not text.startswith("/"):
        return f'a path begins with a slash: "{text}"'
    if "?" in text or "#" in text:
        return f'a path ends before its query, so none is ever this: "{text}"'
    readings = path_readings(text.encode())
    if readings is None or len(readings) > 1:
        return f'can be read in several ways: "{text}"'
    plain = next(iter(readings)).decode("utf-8", "backslashreplace")
    return "" if plain == text else f'paths are compared decoded: write "{plain}"'


def _decoded_once(path: bytes) -> bytes:
    """Decode what means the same encoded; what would add structure stays encoded, in one spelling."""
    return _ENCODED.sub(_decode_plain, path)


def _decode_plain(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return match[0].upper() if byte in _STRUCTURE else bytes((byte,))


def _decoded_whole(path: bytes) -> bytes:
    return _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), path)


def _up_to_query(path: bytes) -> bytes:
    """What is left for who looks for the query only after decoding."""
    return _QUERY.split(path, 1)[0]


def _with_backslashes_for_slashes(path: bytes) -> bytes:
    return path.replace(b"\\", b"/")


def _without_parameters(path: bytes) -> bytes:
    return re.sub(rb";[^/]*", b"", path)


def _with_slashes_merged(path: bytes) -> bytes:
    return re.sub(rb"//+", b"/", path)


def _with_dots_resolved(path: bytes) -> bytes:
    """RFC 3986, section 5.2.4; what leads above the root is left as it is."""
    if _leads_above(path):
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    end = b"/" if segments and segments[-1] in (b".", b"..") and kept else b""
    return b"/" + b"/".join(kept) + end


def _leads_above(path: bytes) -> bool:
    depth = 0
    for segment in path.split(b"/")[1:]:
        depth += -1 if segment == b".." else segment != b"."
        if depth < 0:
            return True
    return False


# Each may be done or not; in this order they give what servers are known to make of a path.
_READ_AS: tuple[Callable[[bytes], bytes], ...] = (
    _decoded_whole,
    _decoded_whole,
    _up_to_query,
    _with_backslashes_for_slashes,
    _without_parameters,
    _with_slashes_merged,
    _with_dots_resolved,
)
