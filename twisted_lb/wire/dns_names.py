"""Names in messages of DNS: labels, and pointers to labels that came before; pure.

Source: RFC 1035, sections 2.3.4, 3.1 and 4.1.4; RFC 4343, section 2.1.
"""

from collections.abc import Iterator

from twisted_lb.errors import WireError

ROOT = b"\0"
HEADER_BYTES = 12
MAX_NAME_BYTES = 255
MAX_POINTERS = 16
"""In one name. Servers need one or two; a bound keeps a message of pointers linear."""

_TEXT = {
    byte: chr(byte).lower() if 0x21 <= byte <= 0x7E and byte not in b".\\" else f"\\{byte:03d}" for byte in range(256)
} | {0x2E: "\\.", 0x5C: "\\\\"}


def read_name(message: bytes, at: int) -> tuple[str, int]:
    """Return the name at ``at``, and where what follows it begins. There is nothing before it that it could point to.

    Returns: the name in small letters without the final dot, ``.`` for the root; what is no printable ASCII as a
        backslash and three digits.
    Raises: WireError ``dns-pointer``, ``dns-label``, ``dns-name-long``, ``dns-truncated``.
    """
    labels = []
    end = at
    for start, length in _labels(message, at):
        labels.append("".join(_TEXT[byte] for byte in message[start : start + length]))
        end = start + length
    return ".".join(labels) or ".", end + 1


def _labels(message: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield where each label's text begins and how long it is, up to the root, which is not yielded."""
    start = at
    while True:
        length = _length_at(message, at)
        if length >= 0xC0:
            raise WireError("dns-pointer", at)
        if not length:
            return
        _check_label(message, at, length, at + 1 + length - start)
        yield at + 1, length
        at += 1 + length


def skip_name(message: bytes, at: int) -> int:
    """Return where what follows the name at ``at`` begins. Each pointer must lead further back than the one before.

    Raises: as ``read_name``.
    """
    end = 0
    first, taken, pointers = at, 0, 0
    while length := _length_at(message, at):
        if length < 0xC0:
            taken += 1 + length
            _check_label(message, at, length, taken)
            at += 1 + length
            continue
        target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
        pointers += 1
        if at + 2 > len(message):
            raise WireError("dns-truncated", len(message))
        if not HEADER_BYTES <= target < first or pointers > MAX_POINTERS:
            raise WireError("dns-pointer", at)
        end = end or at + 2
        at = first = target
    return end or at + 1


def _length_at(message: bytes, at: int) -> int:
    if at >= len(message):
        raise WireError("dns-truncated", len(message))
    return message[at]


def _check_label(message: bytes, at: int, length: int, taken: int) -> None:
    """``taken``: bytes of the name with this label; one more is the root's."""
    if length > 63:
        raise WireError("dns-label", at)
    if taken + 1 > MAX_NAME_BYTES:
        raise WireError("dns-name-long", at)
    if at + 1 + length > len(message):
        raise WireError("dns-truncated", len(message))
