"""The careful reading of lines: fields one by one, so that the first offending byte can be named.

Runs only where the quick reading has refused. Source: RFC 9112, sections 2.2 and 5; RFC 9110, section 5.5.
"""

from typing import NamedTuple

from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_framing import FieldLine
from twisted_lb.wire.http1_grammar import IS_TOKEN, IS_VALUE

CR, LF, HT, SP, COLON = 13, 10, 9, 32, 58

_MARKS = bytes(byte for byte in range(256) if not bytes([byte]).isalnum())
_NEVER_RELAXED = frozenset(
    (b"host", b"contentlength", b"transferencoding", b"connection", b"upgrade", b"expect", b"te", b"trailer")
)
"""Names without their marks. Who reads these in spite of a malformed name or value sees another message."""


class Lines(NamedTuple):
    """The fields up to an empty line, and where that one ends."""

    fields: list[FieldLine]
    end: int


class Relaxed(NamedTuple):
    """A violation that was let through: the rule's name, and where."""

    rule: str
    offset: int


class OutOfBytesError(Exception):
    """What is there ends before it can be judged."""


class LineReader:
    """Reads ``text`` from its start. ``relaxed`` is where violations go that are let through; ``None``: none are.

    Raises: Http1Error at the first byte that is wrong; OutOfBytesError where more would be needed to tell.
    """

    def __init__(self, text: bytes, relaxed: list[Relaxed] | None = None, *, response: bool = False) -> None:
        self.text = text
        self.relaxed = relaxed
        self.response = response

    def refuse(self, rule: str, offset: int) -> Http1Error:
        """Make the error for a rule that is broken at ``offset``."""
        return Http1Error(rule, offset, response=self.response)

    def violate(self, rule: str, offset: int) -> None:
        """Let a relaxable violation through, or refuse it."""
        if self.relaxed is None:
            raise self.refuse(rule, offset)
        self.relaxed.append(Relaxed(rule, offset))

    def at(self, offset: int) -> int:
        """Return the byte there."""
        if offset >= len(self.text):
            raise OutOfBytesError
        return self.text[offset]

    def line_end(self, offset: int) -> int | None:
        """Return where the next line begins if a line ends here; ``None`` if this is neither CR nor LF."""
        byte = self.at(offset)
        if byte == CR and self.at(offset + 1) == LF:
            return offset + 2
        if byte in (CR, LF):
            raise self.refuse("http1-line-end", offset)
        return None

    def token_end(self, offset: int) -> int:
        """Return where a token that may begin here ends."""
        match = IS_TOKEN.match(self.text, offset)
        return offset if match is None else match.end()

    def fields(self, offset: int, max_fields: int) -> Lines:
        """Read lines up to and with the empty one."""
        fields: list[FieldLine] = []
        count = 0
        while (end := self.line_end(offset)) is None:
            if count == max_fields:
                raise self.refuse("http1-fields", offset)
            count += 1
            if self.at(offset) in (SP, HT):
                raise self.refuse("http1-fold", offset)
            field, offset = self._field(offset)
            if field is not None:
                fields.append(field)
        return Lines(fields, end)

    def _field(self, offset: int) -> tuple[FieldLine | None, int]:
        colon = self.token_end(offset)
        if self.at(colon) != COLON or colon == offset:
            return None, self._malformed(offset, colon)
        name = self.text[offset:colon]
        value, end = self.value(colon + 1, never=_without_marks(name) in _NEVER_RELAXED)
        return FieldLine(name, value, offset), end

    def value(self, offset: int, *, never: bool = False) -> tuple[bytes, int]:
        """Read a value to the end of its line; control characters that are let through become spaces.

        ``never``: none is, in this value.
        """
        pieces: list[bytes] = []
        while True:
            match = IS_VALUE.match(self.text, offset)
            end = offset if match is None else match.end()
            pieces.append(self.text[offset:end])
            following = self.line_end(end)
            if following is not None:
                return b" ".join(pieces).strip(b" \t"), following
            if never:
                raise self.refuse("http1-field-value", end)
            self.violate("http1-field-value", end)
            offset = end + 1

    def _malformed(self, offset: int, end: int) -> int:
        """Refuse a line whose name is none, or drop it; returns where the next one begins."""
        blank = end
        while self.at(blank) in (SP, HT):
            blank += 1
        spaced = end > offset and blank > end and self.at(blank) == COLON
        rule = "http1-space-before-colon" if spaced else "http1-field-name"
        self.violate(rule, end)
        following = self.value(offset)[1]
        name = _without_marks(self.text[offset:following].partition(b":")[0])
        if name in _NEVER_RELAXED or b"contentlength" in name or b"transferencoding" in name:
            raise self.refuse(rule, end)
        return following


def _without_marks(name: bytes) -> bytes:
    """Return the letters and digits of a name, in small letters."""
    return name.translate(None, _MARKS).lower()
