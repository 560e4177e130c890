"""Linear patterns match what Python's own do, and never take long."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_lb.errors import ConfigError
from twisted_lb.patterns import LinearPattern, StreamPattern

PATTERNS = [
    "/",
    "/api/v[0-9]+/.*",
    "/(?:[a-c]+/)*x",
    "(a|b)*abb",
    "a?a?a?aaa",
    "(a*)*b",
    "a{2,4}b{0}c{1,}",
    "[^a-b]x|",
    r"\d+\w?\W\S*",
    "(?i)[a-b]Cx",
    "(?i)[^a]b",
    "^a.c$",
    "a+?b*?",
    "(?P<name>ab)+c?",
    "x{3}",
    "(a|ab)(c|bcd)(d*)",
]


@pytest.mark.parametrize("text", PATTERNS)
@given(data=st.text("abcdxABC/019 -", max_size=12).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_it_matches_exactly_what_python_matches(text: str, data: bytes) -> None:
    expected = re.compile(text.encode(), re.DOTALL).fullmatch(data) is not None
    assert LinearPattern(text).matches(data) is expected


@pytest.mark.parametrize(
    ("text", "data"), [("/api/v[0-9]+/.*", b"/api/v12/x"), ("(a|b)*abb", b"aababb"), ("x{3}", b"xxx"), ("", b"")]
)
def test_it_matches(text: str, data: bytes) -> None:
    assert LinearPattern(text).matches(data)


@pytest.mark.parametrize("text", ["(a+)+b", "(a|aa)+b", ".*.*.*.*=b", "(.*a){12}b"])
def test_what_keeps_python_busy_for_hours_takes_moments(text: str) -> None:
    pattern = LinearPattern(text)
    began = time.process_time()
    assert not pattern.matches(b"a" * 4096)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/a(b", "position 2"),
        ("[", "position 0"),
        ("*", "nothing to repeat at position 0"),
        (r"(a)\1", "a back reference"),
        ("(?=a)b", "look-around"),
        ("(?>a)b", "atomic"),
        ("a^b", "not in the middle"),
        ("a{501}", "more than 500 places"),
        ("(?:a{99}){99}", "more than 500 places"),
        ("é", "only ASCII"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        LinearPattern(text)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twisted_lb.patterns.REMEMBERED_STEPS", 10)
    pattern = LinearPattern("[a-z]*1")
    assert pattern.matches(b"abcdefghijklmnopqrstuvwxyz1")
    assert len(pattern._steps) <= 10


# In streams


@pytest.mark.parametrize(
    ("text", "data", "found"),
    [
        ("abc", b"abc", True),
        ("abc", b"xxabcxx", True),
        ("^abc", b"abcxx", True),
        ("^abc", b"xabc", False),
        (r"\A(ab|cd)", b"cd", True),
        ("abc", b"xxab", None),
        ("^abc", b"ab", None),
        ("(?i)^GET /[a-z]+ ", b"get /Path HTTP", True),
        ("a.c", b"a\nc", True),
        (r"\x00\xff", b"x\0\xff", True),
        ("[ab]{2}", b"cacbcab", True),
    ],
)
def test_a_stream_is_searched_as_far_as_it_has_come(text: str, data: bytes, found: bool | None) -> None:
    assert StreamPattern(text).found_in(data) is found


@given(st.sampled_from(["ab", "^ab", "a.*b", "^a[^b]+b", "(a|bb)c", "^(ab|ba)+c", "(?i)^AB", "b{2,3}"]), st.binary())
def test_in_a_stream_it_finds_what_python_finds(text: str, noise: bytes) -> None:
    data = bytes(b"abc"[byte % 3] for byte in noise)
    expected = re.search(text.encode(), data, re.DOTALL) is not None
    pattern = StreamPattern(text)
    assert (pattern.found_in(data) is True) == expected
    answers = [pattern.found_in(data[:end]) for end in range(len(data) + 1)]
    decided = [answer for answer in answers if answer is not None]
    assert len(set(decided)) <= 1, "what was decided changes with more bytes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("abc$", "where a stream ends"),
        ("a*", "finds nothing"),
        ("", "finds nothing"),
        ("(a)\\1", "a back reference"),
    ],
)
def test_what_cannot_be_looked_for_in_a_stream_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        StreamPattern(text)
