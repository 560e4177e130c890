"""The fields of a head, looked up and edited in the bytes themselves: no object per field.

Source: RFC 9110, section 5; RFC 9112, section 5.
"""

import re
from collections.abc import Iterator

from twisted_lb.wire.http1_grammar import IS_TOKEN, IS_VALUE

_LINE = re.compile(rb"([^:\r\n]++):[\t ]*+([^\r\n]*+)\r\n")


class Headers:
    """Fields in their order. Names are case-insensitive; values are bytes without white space around them.

    ``block``: valid lines ``Name: value`` that each end with CR LF. ``folded``: a LF and ``block`` in small letters.
    """

    __slots__ = ("_block", "_folded", "edited")

    def __init__(self, block: bytes, folded: bytes | None = None) -> None:
        self._block = block
        self._folded = folded
        self.edited = False

    def spans(self, name: bytes) -> list[tuple[int, int]]:
        """Return from where to where in ``bytes(self)`` each line of that name goes."""
        if self._folded is None:
            self._folded = b"\n" + self._block.lower()
        folded, wanted, spans = self._folded, b"\n%b:" % name.lower(), []
        start = folded.find(wanted)
        while start >= 0:  # the LF put before the block makes an offset in it one less than here
            end = folded.index(b"\n", start + 1)
            spans.append((start, end))
            start = folded.find(wanted, end)
        return spans

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """Return the value of the first field of that name."""
        for value in self._values(name):
            return value
        return default

    def get_all(self, name: bytes) -> list[bytes]:
        """Return the values of every field of that name, in their order."""
        return list(self._values(name))

    def _values(self, name: bytes) -> Iterator[bytes]:
        for start, end in self.spans(name):
            yield self._block[start + len(name) + 1 : end].strip(b"\t \r\n")

    def __contains__(self, name: bytes) -> bool:
        return bool(self.spans(name))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield name, as it was spelt, and value of each field."""
        for name, value in _LINE.findall(self._block):
            yield name, value.rstrip(b"\t ")

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field. Raises ValueError if the name is no token or the value has control characters."""
        self._replace(self._block + field_line(name, value))

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field of that name by one at the end. Raises ValueError like ``add``."""
        line = field_line(name, value)
        self.remove(name)
        self._replace(self._block + line)

    def remove(self, name: bytes) -> int:
        """Remove every field of that name; returns how many there were."""
        spans = self.spans(name)
        if spans:
            self._replace(without(self._block, spans))
        return len(spans)

    def _replace(self, block: bytes) -> None:
        self._block, self._folded, self.edited = block, None, True

    def __bytes__(self) -> bytes:
        return self._block


def field_line(name: bytes, value: bytes) -> bytes:
    """Return a line with its CRLF. Raises ValueError if the name is no token or the value has control characters."""
    for one in (name, value):
        if not isinstance(one, bytes):
            raise TypeError(f"names and values of fields are bytes, and not {one!r}")
    if not IS_TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a field: {name!r}")
    if not IS_VALUE.fullmatch(value):
        raise ValueError(f"not the value of a field: {value!r}")
    return b"%b: %b\r\n" % (name, value)


def without(block: bytes, spans: list[tuple[int, int]], start: int = 0) -> bytes:
    """Return ``block`` from ``start`` on without the ``spans``, which are in order and do not overlap."""
    pieces = []
    for begin, end in spans:
        pieces.append(block[start:begin])
        start = end
    pieces.append(block[start:])
    return b"".join(pieces)


class HasHeaders:
    """What the structs of heads have in common: fields that are only looked at if somebody asks.

    ``raw``: the head, empty line included. ``fields_at``: where the fields begin in it.
    """

    __slots__ = ()  # the struct has a place for each

    raw: bytes
    fields_at: int
    _folded: bytes
    _headers: Headers | None

    @property
    def folded(self) -> bytes:
        """``raw`` in small letters, to look fields up in."""
        if not self._folded:
            self._folded = self.raw.lower()  # type: ignore[misc]
        return self._folded

    @property
    def headers(self) -> Headers:
        """The fields; made when first asked for. Edits of it are what goes on to the other side."""
        if self._headers is None:
            self._headers = Headers(  # type: ignore[misc]
                self.raw[self.fields_at : -2], self.folded[self.fields_at - 1 : -2]
            )
        return self._headers

    @property
    def edited_headers(self) -> Headers | None:
        """The fields if they were edited."""
        headers = self._headers
        return headers if headers is not None and headers.edited else None
