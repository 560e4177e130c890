"""The commands of a Redis client, as the server reads them out of the stream; pure.

Of each command its first two words are kept, and the rest is skipped: a value may have 512 MiB. Where the server is
more lenient than its documentation, as in reading any two bytes for the line end behind a value, this refuses: what two
programs read in two ways hides commands.

Source: Redis' documentation, "Redis serialization protocol specification"; its source for the details: networking.c,
processMultibulkBuffer and processInlineBuffer; sds.c, sdssplitargs.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from twisted_lb.errors import WireError

MAX_WORDS: Final = 1024 * 1024
"""Of one command; the server's own limit before version 7."""
MAX_WORD_BYTES: Final = 512 * 1024 * 1024
"""Of one word; the server's default, ``proto-max-bulk-len``."""
MAX_INLINE_BYTES: Final = 16 * 1024
"""Of a command that is a line of text. The server takes 64 KiB, but such lines are written by people."""
MAX_NAME_BYTES: Final = 64
"""Of a command's name; of the second word as many are kept."""
MAX_BLANK_BYTES: Final = 64
"""Of empty lines before the first command: who begins with more of them wants to be looked at without end."""

_COUNT: Final = re.compile(rb"0|[1-9][0-9]{0,9}")
_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\-]*")
_MAY_BE_INLINE: Final = re.compile(rb"[ \t\v\f\r]*+(?:[A-Za-z_\"']|\Z)")
_WHOLE_HEAD: Final = re.compile(rb"\*([1-9][0-9]{0,6})\r\n\$([1-9][0-9]?)\r\n([A-Za-z_][A-Za-z0-9_.\-]*)\r\n")
_WHOLE_WORD: Final = re.compile(rb"\$(0|[1-9][0-9]{0,8})\r\n")
_LINE_OF_HTTP: Final = re.compile(rb"HTTP/[0-9.]*")
_SPACE: Final = b" \t\n\v\f\r"
_ESCAPED: Final = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}
_MAX_HEADER_BYTES: Final = 16


class Command(NamedTuple):
    """``name``: in upper case. ``argument``: the second word, ``None`` without one; cut off at ``MAX_NAME_BYTES`` + 1.

    ``inline``: it was a line of text.
    """

    name: str
    argument: bytes | None = None
    inline: bool = False


class CommandReader:
    """Reads all commands of one connection, cut anywhere. Keeps less than ``MAX_INLINE_BYTES``.

    After a WireError it must not be used any more.
    """

    __slots__ = ("_begun", "_blank", "_count", "_kept", "_left", "_pending", "_skip", "_words")

    def __init__(self) -> None:
        self._begun = b""
        """A line that has no end yet."""
        self._blank: int | None = 0
        """Bytes of empty lines so far; ``None`` once there was a command."""
        self._count = self._left = 0
        """Words of the command: all, and those that are not over yet."""
        self._words: list[bytes] = []
        """The first two of those that have begun."""
        self._kept = 0
        """How many more bytes of the word that is coming are to be kept."""
        self._skip = -1
        """Bytes of a word that have not come yet, its line end included; -1 between words."""
        self._pending = False
        """The command has not been told yet."""

    def feed(self, data: bytes) -> Iterator[Command]:
        """Take what came next and yield each command as soon as as much is known of it as is told.

        Raises: WireError ``redis-count``, ``-length``, ``-word``, ``-word-end``, ``-name``, ``-inline-long``,
            ``-inline-nul``, ``-inline-quotes``, ``-line-end``, ``-blank`` or ``-http``; no other exception.
        Cost: linear in ``data``; values are skipped and not looked at.
        """
        at = 0
        while at < len(data):
            if self._skip >= 0:
                at = self._word(data, at)
            elif not self._left and not self._begun and (whole := _whole(data, at)):
                command, at = whole
                self._blank = None
                yield command
            else:
                line, at = self._line(data, at)
                if line is None:
                    return
                words = self._line_read(line)
                if words:
                    self._blank = None
                    yield _command(words, inline=True)
                elif not self._left and self._blank is not None:
                    self._count_blank(len(line) + 1)
            if self._pending and not self._kept and len(self._words) == min(2, self._count):
                self._pending = False
                self._blank = None
                yield _command(self._words, inline=False)

    def _count_blank(self, count: int) -> None:
        self._blank = (self._blank or 0) + count
        if self._blank > MAX_BLANK_BYTES:
            raise WireError("redis-blank")

    def _word(self, data: bytes, at: int) -> int:
        """Take what is to be kept of the current word, or else all that there is; returns where it stopped."""
        if self._kept:
            piece = data[at : at + self._kept]
            self._words[-1] += piece
            self._kept -= len(piece)
            self._skip -= len(piece)
            return at + len(piece)
        end = min(at + self._skip, len(data))
        value_end = max(at, min(at + self._skip - 2, end))
        for place in range(value_end, end):
            behind = self._skip - (place - at)  # 2 at the CR, 1 at the LF
            if data[place] != (0x0D if behind == 2 else 0x0A):
                raise WireError("redis-word-end", place)
        self._skip -= end - at
        if not self._skip:
            self._skip = -1
            self._left -= 1
        return end

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """Take a line: its LF is gone, a CR before it is not."""
        first = (self._begun or data[at : at + 1])[:1]
        if self._left and first != b"$":
            raise WireError("redis-word", at)
        inline = not self._left and first != b"*"
        room = (MAX_INLINE_BYTES if inline else _MAX_HEADER_BYTES) - len(self._begun)
        end = data.find(b"\n", at, at + room)
        if end >= 0:
            line, self._begun = self._begun + data[at:end], b""
            return line, end + 1
        self._begun += data[at : at + room]
        if inline:  # more could come, but other protocols are to be told early
            _check_beginning(self._begun)
            if b"\0" in data[at : at + room]:
                raise WireError("redis-inline-nul", at)
        if len(data) - at >= room:
            raise WireError("redis-inline-long" if inline else "redis-length" if self._left else "redis-count", at)
        return None, len(data)

    def _line_read(self, line: bytes) -> list[bytes]:
        """Read the line before a word, the line before a command, or a command that is a line: return its words."""
        if self._left:
            self._begin_word(_number(line, "redis-length", MAX_WORD_BYTES))
            return []
        if line[:1] != b"*":
            _check_beginning(line)
            return split_inline(line.removesuffix(b"\r"))
        self._count = self._left = _number(line, "redis-count", MAX_WORDS)
        if not self._left:
            raise WireError("redis-count", 1)
        self._words = []
        self._pending = True
        return []

    def _begin_word(self, length: int) -> None:
        self._skip = length + 2
        words = self._words
        if self._left == self._count and not 0 < length <= MAX_NAME_BYTES:
            raise WireError("redis-name")
        if self._count - self._left < 2:
            words.append(b"")
            self._kept = min(length, MAX_NAME_BYTES + 1)


def _whole(data: bytes, at: int) -> tuple[Command, int] | None:
    """Read a command that has come whole, as most do: what a reader would tell of it, in fewer steps.

    Returns: the command and where it ends; ``None`` for what a reader has to look at.
    """
    head = _WHOLE_HEAD.match(data, at)
    if head is None or int(head[2]) != len(head[3]) or len(head[3]) > MAX_NAME_BYTES or int(head[1]) > MAX_WORDS:
        return None
    argument = None
    at = head.end()
    for number in range(1, int(head[1])):
        word = _WHOLE_WORD.match(data, at)
        if word is None:
            return None
        start = word.end()
        end = start + int(word[1])
        if data[end : end + 2] != b"\r\n":
            return None
        if number == 1:
            argument = data[start : min(end, start + MAX_NAME_BYTES + 1)]
        at = end + 2
    name = head[3].decode().upper()
    return None if name == "POST" else (Command(name, argument), at)


def _check_beginning(line: bytes) -> None:
    """Refuse a line, or the front of one, that cannot begin with a command's name."""
    if _MAY_BE_INLINE.match(line) is None:
        raise WireError("redis-name")


def _number(line: bytes, reason: str, most: int) -> int:
    """Read the number behind a line's first byte, as strictly as the server does."""
    if not line.endswith(b"\r"):
        raise WireError("redis-line-end", len(line))
    if _COUNT.fullmatch(line, 1, len(line) - 1) is None or int(line[1:-1]) > most:
        raise WireError(reason, 1)
    return int(line[1:-1])


def _command(words: list[bytes], *, inline: bool) -> Command:
    """Check a command's name. The server compares up to a zero byte, so one in it could be any other's name."""
    name = words[0]
    if len(name) > MAX_NAME_BYTES or _NAME.fullmatch(name) is None:
        raise WireError("redis-name")
    upper = name.decode().upper()
    if upper == "POST" or (inline and _LINE_OF_HTTP.fullmatch(words[-1])):
        raise WireError("redis-http")
    return Command(upper, words[1][: MAX_NAME_BYTES + 1] if len(words) > 1 else None, inline)


def split_inline(line: bytes) -> list[bytes]:
    """Split a line into words, which may be quoted, as the server does.

    Raises: WireError ``redis-inline-quotes`` for quotes that do not match, ``redis-inline-nul``; no other exception.
    """
    nul = line.find(b"\0")
    if nul >= 0:
        raise WireError("redis-inline-nul", nul)
    words: list[bytes] = []
    at = 0
    while True:
        while line[at : at + 1] and line[at] in _SPACE:
            at += 1
        if at == len(line):
            return words
        word, at = _inline_word(line, at)
        words.append(word)


_PLAIN: Final = re.compile(rb"[^ \t\r\n\"']+")
_DOUBLE: Final = re.compile(rb"\"((?:[^\"\\]|\\.)*+)\"", re.DOTALL)
_SINGLE: Final = re.compile(rb"'((?:\\'|[^'])*+)'", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def _inline_word(line: bytes, at: int) -> tuple[bytes, int]:
    """Read one word; returns where it ends. Quotes may begin in the middle of a word, and end it."""
    plain = _PLAIN.match(line, at)
    word = b""
    if plain is not None:
        word, at = plain[0], plain.end()
    quote = line[at : at + 1]
    if quote not in (b'"', b"'"):
        return word, at
    match = (_DOUBLE if quote == b'"' else _SINGLE).match(line, at)
    end = -1 if match is None else match.end()
    if match is None or (end < len(line) and line[end] not in _SPACE):
        raise WireError("redis-inline-quotes", at)
    text = _ESCAPE.sub(_unescaped, match[1]) if quote == b'"' else match[1].replace(b"\\'", b"'")
    return word + text, end


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 16)])
    return _ESCAPED.get(match[2][0], match[2])
