"""What a path may be taken for: every reading that servers are known for is among them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1_path import MAX_ODD_PATH, path_fault, path_readings, plain_path


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        (b"/", b"/"),
        (b"/a/b.c/~d", b"/a/b.c/~d"),
        (b"/a%20b", b"/a b"),
        (b"/%61%64min", b"/admin"),
        (b"/%c3%a9", b"/\xc3\xa9"),
        (b"/a...b/.c", b"/a...b/.c"),
        (b"*", b"*"),
        (b"", b""),
    ],
)
def test_a_plain_path_has_one_reading(path: bytes, reading: bytes) -> None:
    assert path_readings(path) == frozenset((reading,))


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        (b"/public/../admin", b"/admin"),  # resolved by most
        (b"/public/%2e%2e/admin", b"/admin"),  # after decoding
        (b"/public/..%2fadmin", b"/admin"),  # an encoded slash, decoded
        (b"/public/%252e%252e/admin", b"/admin"),  # decoded twice
        (b"/public/..;/admin", b"/admin"),  # Tomcat
        (b"/public/..;x=1/admin", b"/admin"),
        (b"/public\\..\\admin", b"/admin"),  # IIS
        (b"/public/..%5cadmin", b"/admin"),
        (b"//admin", b"/admin"),  # merged slashes
        (b"/./admin", b"/admin"),
        (b"/admin;x/y", b"/admin/y"),
        (b"/admin/.", b"/admin/"),
        (b"/a//../admin", b"/admin"),  # merged before resolved
        (b"/a//../admin", b"/a/admin"),  # resolved without being merged
        (b"/a%2Fb", b"/a%2Fb"),  # left alone
        (b"/a%2fb", b"/a/b"),
        (b"/a;b", b"/a;b"),
        (b"/%25%32%65", b"/."),
        (b"/admin%3fx", b"/admin"),  # the query is looked for behind the decoding
        (b"/admin%23", b"/admin"),
    ],
)
def test_what_servers_make_of_an_odd_path_is_among_its_readings(path: bytes, reading: bytes) -> None:
    readings = path_readings(path)
    assert readings is not None
    assert reading in readings


@pytest.mark.parametrize(
    "path",
    [
        b"/%",
        b"/%zz",
        b"/%u0061dmin",
        b"/a%00/../b",
        b"/a%2500",
        b"/%0d%0a",
        b"/x/%c0%ae%c0%ae/admin",
        b"/%e0%80%af",
        b"/..",
        b"/a/../../b",
        b"/a%2f..%2f..%2fb",
        b"/a//../../b",
        b"/%20" + b"a" * MAX_ODD_PATH,
    ],
)
def test_a_path_that_makes_no_sense_has_no_reading(path: bytes) -> None:
    assert path_readings(path) is None


@given(
    st.lists(st.sampled_from([b"/", b"a", b".", b"..", b"%2e", b"%2f", b"%25", b"%5c", b"\\", b";", b"%3b", b"%3f"]))
)
def test_every_reading_of_any_path_is_found_and_they_are_few(pieces: list[bytes]) -> None:
    readings = path_readings(b"/" + b"".join(pieces))
    assert readings is None or 1 <= len(readings) <= 128


def test_the_worst_path_takes_milliseconds() -> None:
    path = (b"/a;b\\c/./%252e%2f%25//" * 1000)[:MAX_ODD_PATH]
    began = time.process_time()
    path_readings(path)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("/", ""),
        ("/a b/.well-known/", ""),
        ("x", "a path begins with a slash"),
        ("", "a path begins with a slash"),
        ("/a?b", "a path ends before its query"),
        ("/a#b", "a path ends before its query"),
        ("/a//b", "can be read in several ways"),
        ("/%zz", "can be read in several ways"),
        ("/a%20b", 'paths are compared decoded: write "/a b"'),
    ],
)
def test_a_path_of_the_configuration_that_no_request_has_is_told(text: str, fault: str) -> None:
    assert path_fault(text).startswith(fault)
    assert bool(path_fault(text)) is bool(fault)


def test_a_path_of_the_configuration_must_be_plain() -> None:
    assert plain_path("/a%20b") == plain_path("/a b") == b"/a b"
    for text in ("/a%2Fb", "/a//b", "/a/../b", "/a;b", "/%"):
        with pytest.raises(ValueError, match="several ways"):
            plain_path(text)
