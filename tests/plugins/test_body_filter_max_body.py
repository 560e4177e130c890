"""``max_body``: what is too long is refused as soon as that is known."""

from unittest import TestCase

import pytest

from twisted_lb.api import Deny, IBodyFilter
from twisted_lb.testing import BodyFilterContract, make_facts, make_request, make_response
from twisted_lb_plugins.body_filter_max_body import Counting, MaxBodyOptions, build


class TestContract(BodyFilterContract, TestCase):
    """What every body filter promises."""

    def make_filter(self) -> IBodyFilter:
        """Let some of the bodies pass."""
        return build(MaxBodyOptions(max_bytes=100))


def answer(length: str | None, max_bytes: int = 10) -> object:
    facts = make_facts()
    field = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", length)
    facts.http = make_request("POST", "/", [field])
    return build(MaxBodyOptions(max_bytes=max_bytes)).filter_request(facts)


@pytest.mark.parametrize(("length", "refused"), [("10", False), ("11", True), ("0", False), ("999999999999", True)])
def test_a_length_that_is_named_decides_before_the_body_comes(length: str, refused: bool) -> None:
    verdict = answer(length)
    assert (isinstance(verdict, Deny) and verdict.status == 413) if refused else verdict is None


def test_a_body_of_unknown_length_is_counted() -> None:
    stream = answer(None)
    assert isinstance(stream, Counting)
    assert stream.feed(b"12345") == b"12345"
    assert stream.feed(b"67890") == b"67890"
    verdict = stream.feed(b"1")
    assert isinstance(verdict, Deny)
    assert verdict.status == 413


def test_responses_are_of_any_length() -> None:
    filters = build(MaxBodyOptions(max_bytes=1))
    filters.filter_response(make_facts(), make_response(200, [("Content-Length", "1000")]))
