"""Names of DNS: labels and lengths are bounded, and pointers lead back only."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.dns_spelling import name
from twisted_lb.errors import WireError
from twisted_lb.wire.dns_names import MAX_POINTERS, read_name, skip_name

HEADER = bytes(12)


def reason(message: bytes, at: int = 12) -> str:
    with pytest.raises(WireError) as caught:
        skip_name(message, at)
    return caught.value.reason


def test_a_name_is_read_in_small_letters_and_its_end_is_told() -> None:
    assert read_name(HEADER + name("Www.Example.org") + b"rest", 12) == ("www.example.org", 29)
    assert read_name(HEADER + b"\0rest", 12) == (".", 13)


def test_bytes_that_could_be_mistaken_are_escaped() -> None:
    assert read_name(b"\7a.b\\c \xff\0", 0) == ("a\\.b\\\\c\\032\\255", 9)


def test_the_longest_label_and_the_longest_name_pass() -> None:
    longest = name(".".join(["a" * 63] * 3 + ["b" * 61]))
    assert len(longest) == 255
    assert skip_name(longest, 0) == 255
    assert read_name(longest, 0)[1] == 255
    assert reason(name(".".join(["a" * 63] * 3 + ["b" * 62])), 0) == "dns-name-long"


def test_a_pointer_leads_to_a_name_that_came_before() -> None:
    message = HEADER + name("example.org") + b"\3www\xc0\x0c" + b"rest"
    assert skip_name(message, 25) == 31


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HEADER + b"\xc0\x0c", "dns-pointer"),
        (HEADER + b"\1a\xc0\x0c", "dns-pointer"),
        (HEADER + b"\xc0\x0e\0", "dns-pointer"),
        (HEADER + b"\xc0\x00", "dns-pointer"),
        (HEADER + b"\xc0", "dns-truncated"),
        (HEADER + b"\x80aa\0", "dns-label"),
        (HEADER + b"\3aa", "dns-truncated"),
        (HEADER, "dns-truncated"),
    ],
)
def test_what_is_no_name_is_refused(message: bytes, expected: str) -> None:
    assert reason(message) == expected


def test_a_name_that_is_long_only_with_what_it_points_to_is_refused() -> None:
    first = name(".".join(["a" * 63] * 3))
    assert reason(HEADER + first + b"\x3f" + b"b" * 63 + b"\xc0\x0c", 12 + len(first)) == "dns-name-long"


def test_pointers_to_pointers_are_counted() -> None:
    chain = HEADER + b"\0" + b"\xc0\x0c"
    for _ in range(MAX_POINTERS):
        chain += (0xC000 | (len(chain) - 2)).to_bytes(2, "big")
    assert skip_name(chain, len(chain) - 4) == len(chain) - 2
    assert reason(chain, len(chain) - 2) == "dns-pointer"


@given(st.binary(max_size=40), st.integers(0, 45))
def test_any_bytes_are_a_name_or_refused(message: bytes, at: int) -> None:
    for read in (skip_name, lambda message, at: read_name(message, at)[1]):
        with suppress(WireError):
            assert at < read(message, at) <= len(message)
