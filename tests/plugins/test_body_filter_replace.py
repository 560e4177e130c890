"""``replace``: every ``old`` becomes ``new``, however the body was cut."""

from typing import Any
from unittest import TestCase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.api import IBodyFilter
from twisted_lb.testing import BodyFilterContract, make_facts, make_request, make_response
from twisted_lb_plugins.body_filter_replace import ReplaceOptions, Replacing, build

HTML = ("Content-Type", "Text/HTML; charset=utf-8")


class TestContract(BodyFilterContract, TestCase):
    """What every body filter promises."""

    bodies = (b"abcabcab", b"aababcbcabc", b"nothing", b"abc")

    def make_filter(self) -> IBodyFilter:
        """Replace by something longer."""
        return build(ReplaceOptions(old="abc", new="ABCDE"))


@given(
    st.binary(max_size=6),
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"aab", b"x"])),
    st.sampled_from([b"aab", b"ab", b"aa"]),
)
def test_it_is_what_replacing_in_the_whole_would_give(new: bytes, pieces: list[bytes], old: bytes) -> None:
    stream = Replacing(old, new)
    assert b"".join([*map(stream.feed, pieces), stream.end()]) == b"".join(pieces).replace(old, new)


def test_nothing_is_kept_back_that_cannot_be_the_beginning() -> None:
    stream = Replacing(b"</body>", b"!")
    assert stream.feed(b"a" * 1000) == b"a" * 1000
    assert stream.feed(b"b</bo") == b"b"
    assert stream.feed(b"ld>") == b"</bold>"


def test_the_length_is_kept_if_both_are_as_long() -> None:
    assert Replacing(b"cat", b"dog").keeps_length
    assert not Replacing(b"cat", b"horse").keeps_length


def response_of(*fields: tuple[str, str], status: int = 200, **options: Any) -> tuple[Any, Any]:
    response = make_response(status, [("Content-Length", "3"), *fields])
    filters = build(ReplaceOptions(old="a", new="b", **options))
    return filters.filter_response(make_facts(), response), response


def test_what_was_said_of_the_body_before_goes() -> None:
    stream, response = response_of(HTML, ("ETag", '"x"'), ("Accept-Ranges", "bytes"), ("Last-Modified", "today"))
    assert stream is not None
    assert [name for name, _ in response.headers.items()] == [b"Content-Length", b"Content-Type", b"Last-Modified"]


@pytest.mark.parametrize(
    ("fields", "status", "options"),
    [
        ([("Content-Type", "image/png")], 200, {}),
        ([], 200, {}),
        ([HTML, ("Content-Encoding", "gzip")], 200, {}),
        ([HTML, ("Content-Range", "bytes 0-2/10")], 206, {}),
        ([HTML], 200, {"body": "request"}),
    ],
    ids=["another type", "no type", "compressed", "a part", "the other direction"],
)
def test_what_is_not_meant_passes_as_it_is(fields: Any, status: int, options: Any) -> None:
    stream, response = response_of(*fields, status=status, **options)
    assert stream is None
    assert not response.headers.edited


def test_without_types_every_body_is_meant() -> None:
    assert response_of(types=[])[0] is not None


def test_the_server_is_not_asked_for_what_could_not_be_read() -> None:
    facts = make_facts()
    facts.http = make_request("GET", "/", [("Accept-Encoding", "gzip"), ("Range", "bytes=0-2"), ("Accept", "*/*")])
    assert build(ReplaceOptions(old="a", new="b")).filter_request(facts) is None
    assert [name for name, _ in facts.http.headers.items()] == [b"Host", b"Accept"]


def test_bodies_of_requests_are_meant_if_it_is_said_so() -> None:
    facts = make_facts()
    facts.http = make_request("POST", "/", [("Content-Length", "3"), HTML])
    stream: Any = build(ReplaceOptions(old="a", new="b", body="request")).filter_request(facts)
    assert stream.feed(b"aha") == b"bhb"
