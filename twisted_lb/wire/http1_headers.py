"""The fields of a head, looked up and edited in the bytes themselves: no object per field.

Source: RFC 9110, section 5; RFC 9112, section 5.
"""

from collections.abc import Iterator


class Headers:
    """Fields in their order. Names are case-insensitive; values are bytes without white space around them.

    ``block``: valid lines ``Name: value`` that each end with CR LF.
    """

    __slots__ = ("_block", "_folded", "edited")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._folded: bytes | None = None
        self.edited = False

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """Return the value of the first field of that name."""
        raise NotImplementedError

    def get_all(self, name: bytes) -> list[bytes]:
        """Return the values of every field of that name, in their order."""
        raise NotImplementedError

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield name, as it was spelt, and value of each field."""
        raise NotImplementedError

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field. Raises ValueError if the name is no token or the value has control characters."""
        raise NotImplementedError

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field of that name by one at the end. Raises ValueError like ``add``."""
        raise NotImplementedError

    def remove(self, name: bytes) -> int:
        """Remove every field of that name; returns how many there were."""
        raise NotImplementedError

    def __bytes__(self) -> bytes:
        return self._block
