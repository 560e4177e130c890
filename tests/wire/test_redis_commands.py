"""Commands as a Redis server reads them: as arrays ("Redis serialization protocol specification") and as lines."""

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.wire.redis_commands import MAX_INLINE_BYTES, Command, CommandReader, split_inline

# "Sending commands to a Redis server", its example.
LLEN = b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n"


def array(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def read(*pieces: bytes) -> list[Command]:
    reader = CommandReader()
    return [command for piece in pieces for command in reader.feed(piece)]


def cuts_of(data: bytes) -> list[list[bytes]]:
    return [[data[at : at + 1] for at in range(len(data))], *([data[:at], data[at:]] for at in range(1, len(data)))]


@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (LLEN, [Command("LLEN", b"mylist")]),
        (LLEN * 3, [Command("LLEN", b"mylist")] * 3),
        (array(b"ping"), [Command("PING")]),
        (array(b"SET", b"key", b"a\r\n*1\r\n$8\r\nFLUSHALL\r\n"), [Command("SET", b"key")]),
        (array(b"set", b"", b""), [Command("SET", b"")]),
        (array(b"Ft._List", b"x" * 65, b"y"), [Command("FT._LIST", b"x" * 65)]),
        (array(b"eval", b"x" * 66 + b"y", b"0"), [Command("EVAL", b"x" * 65)]),
        (b"ping\r\n", [Command("PING", inline=True)]),
        (b"\r\n\n  \r\nPING\n", [Command("PING", inline=True)]),
        (b' set\tk "v w"\r\n', [Command("SET", b"k", inline=True)]),
        (
            b"PING\r\n" + LLEN + b"GET x\n",
            [Command("PING", inline=True), Command("LLEN", b"mylist"), Command("GET", b"x", inline=True)],
        ),
    ],
)
def test_commands_are_read_however_they_are_cut(data: bytes, commands: list[Command]) -> None:
    assert read(data) == commands
    for pieces in cuts_of(data):
        assert read(*pieces) == commands


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"*0\r\n", "redis-count"),
        (b"*-1\r\n", "redis-count"),
        (b"*01\r\n", "redis-count"),
        (b"*+1\r\n", "redis-count"),
        (b"*\r\n", "redis-count"),
        (b"*1048577\r\n", "redis-count"),
        (b"*" + b"1" * 20, "redis-count"),
        (b"*1\n", "redis-line-end"),
        (b"*1\r\nPING\r\n", "redis-word"),
        (b"*1\r\n:4\r\n", "redis-word"),
        (b"*1\r\n$-1\r\n", "redis-length"),
        (b"*2\r\n$4\r\nPING\r\n$536870913\r\n", "redis-length"),
        (b"*1\r\n$" + b"4" * 20, "redis-length"),
        (b"*1\r\n$4\rXPING\r\n", "redis-length"),
        (b"*1\r\n$0\r\n\r\n", "redis-name"),
        (b"*1\r\n$65\r\n", "redis-name"),
        (b"*1\r\n$4\r\nPINGxx", "redis-word-end"),
        (b"*1\r\n$4\r\nPING\rx", "redis-word-end"),
        (b"*1\r\n$4\r\nPI\0G\r\n", "redis-name"),
        (array(b"FLUSH ALL"), "redis-name"),
        (array(b"POST"), "redis-http"),
        (array(*([b"POST"] * 3)), "redis-http"),
        (b"*2\r\n$4\r\nPING\r\n$1\r\nabc", "redis-word-end"),
        (b"*1\r\n$5\r\nPING\r\n*", "redis-name"),
        (b"*1\r\n$3\r\nPING\r\n", "redis-word-end"),
        (b"POST /\r\n", "redis-http"),
        (b"GET / HTTP/1.1\r\n", "redis-http"),
        (b"GET /\0\n", "redis-inline-nul"),
        (b"Host: x\r\n", "redis-name"),
        (b"\x16\x03\x01", "redis-name"),
        (b"-ERR\r\n", "redis-name"),
        (b'"PING\r\n', "redis-inline-quotes"),
        (b'"PING"x\r\n', "redis-inline-quotes"),
        (b"SET 'x\r\n", "redis-inline-quotes"),
        (b"PING " + b"x" * MAX_INLINE_BYTES, "redis-inline-long"),
        (b"\n" * 65, "redis-blank"),
        (b" \r\n" * 22, "redis-blank"),
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(WireError) as caught:
            read(*pieces)
        assert caught.value.reason == reason


def test_values_are_skipped_and_not_kept() -> None:
    reader = CommandReader()
    assert list(reader.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n")) == [Command("SET", b"k")]
    block = bytes(1 << 20)
    for _ in range(512):
        assert not list(reader.feed(block))
    kept = [getattr(reader, name) for name in reader.__slots__]
    assert sum(len(one) for one in kept if isinstance(one, bytes | list)) < 100
    assert list(reader.feed(b"\r\n" + LLEN)) == [Command("LLEN", b"mylist")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b" \t\v\f ", []),
        (b"a  b\tc", [b"a", b"b", b"c"]),
        (b"\"a b\" 'c d'", [b"a b", b"c d"]),
        (b'FLU"SHALL"', [b"FLUSHALL"]),
        (b'"FLUSH\\x41\\x4CL"', [b"FLUSHALL"]),
        (b'"\\n\\r\\t\\b\\a\\q\\"\\\\"', [b'\n\r\t\b\aq"\\']),
        (b'"\\xg1" "\\x4"', [b"xg1", b"x4"]),
        (b"'a\\'b\\n'", [b"a'b\\n"]),
        (b'""', [b""]),
        (b"a\vb", [b"a\vb"]),
        (b"a\rb", [b"a", b"b"]),
        (b'a"b"\vc', [b"ab", b"c"]),
    ],
)
def test_lines_are_split_as_the_server_does(line: bytes, words: list[bytes]) -> None:
    assert split_inline(line) == words == sdssplitargs(line)


def sdssplitargs(line: bytes) -> list[bytes] | None:
    """The server's function of that name, step by step; ``None`` for quotes that do not match."""
    words: list[bytes] = []
    text, at = line + b"\0", 0
    escapes = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
    while True:
        while text[at : at + 1].isspace():
            at += 1
        if text[at] == 0:
            return words
        word, quote = b"", b""
        while True:
            char, following = text[at : at + 1], text[at + 1 : at + 2]
            if not quote:
                if char in (b" ", b"\n", b"\r", b"\t", b"\0"):
                    break
                if char in (b'"', b"'"):
                    quote = char
                else:
                    word += char
            elif char == b"\0":
                return None
            elif quote == b'"' and re.match(rb"\\x[0-9a-fA-F]{2}", text[at:]):
                word += bytes([int(text[at + 2 : at + 4], 16)])
                at += 3
            elif quote == b'"' and char == b"\\" and following != b"\0":
                word += escapes.get(following, following)
                at += 1
            elif quote == b"'" and char == b"\\" and following == b"'":
                word += b"'"
                at += 1
            elif char == quote:
                if following != b"\0" and not following.isspace():
                    return None
                at += 1
                break
            else:
                word += char
            at += 1
        words.append(word)


@given(st.lists(st.sampled_from([b'"', b"'", b"\\", b"x", b"4", b"1", b" ", b"\t", b"\v", b"\r", b"a", b"n", b"\xff"])))
def test_any_line_is_split_as_the_server_does(parts: Sequence[bytes]) -> None:
    line = b"".join(parts)
    expected = sdssplitargs(line)
    try:
        assert split_inline(line) == expected
    except WireError as error:
        assert (error.reason, expected) == ("redis-inline-quotes", None)  # noqa: PT017


WORD = st.one_of(
    st.sampled_from([b"PING", b"config", b"SET", b"", b"*1\r\n$4\r\nPING\r\n", b"\r\n"]), st.binary(max_size=80)
)


def _outcome(pieces: Sequence[bytes]) -> tuple[list[Command], bool]:
    reader = CommandReader()
    commands: list[Command] = []
    try:
        for piece in pieces:
            commands.extend(reader.feed(piece))
    except WireError:
        return commands, True
    return commands, False


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.lists(WORD, min_size=1, max_size=4).map(lambda words: array(*words)), max_size=4).map(b"".join),
        st.lists(st.sampled_from([b"*", b"$", b"1", b"4", b"\r\n", b"\n", b"PING", b"\0", b" "])).map(b"".join),
    ),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_any_bytes_give_commands_or_a_wire_error_and_cuts_do_not_matter(data: bytes, places: list[int]) -> None:
    whole = _outcome([data])
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    assert _outcome([data[start:end] for start, end in itertools.pairwise(bounds)]) == whole
    assert _outcome([data[at : at + 1] for at in range(len(data))]) == whole


def test_lines_may_be_empty_without_end_once_there_was_a_command() -> None:
    for first in (LLEN, b"PING\r\n", b"\n" * 64 + b"PING\r\n"):
        assert len(read(first, b"\n" * 1000, LLEN)) == 2
        assert len(read(*(bytes([byte]) for byte in first + b"\n" * 1000 + LLEN))) == 2
