"""The contract suite of body filters finds what is wrong; each promise is broken once here."""

import re
from typing import Any

import pytest
from zope.interface import implementer

from tests.testing.suites import failures
from twisted_lb.api import Allow, Deny, IBodyFilter, IBodyStream
from twisted_lb.testing import BodyFilterContract

# Body filters


@implementer(IBodyStream)
class Passing:
    """Lets a body pass; what a test changes is wrong."""

    keeps_length: Any = True

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes) -> Any:
        self.count += 1
        return data

    def end(self) -> Any:
        return b""


def filter_failures(stream: Any, request: Any = None, shared: bool = False) -> set[str]:
    """Run the contract on a filter that gives responses streams of this class, or one stream to all of them."""
    one = stream() if shared else None
    methods = {
        "filter_request": lambda self, facts: request,
        "filter_response": lambda self, facts, response: one or stream(),
    }
    made = type("Made", (), methods)
    return failures(BodyFilterContract, make_filter=lambda self: implementer(IBodyFilter)(made)())


def stream_that(**changes: Any) -> Any:
    return type("Changed", (Passing,), changes)


def test_a_good_body_filter_passes() -> None:
    assert filter_failures(Passing) == set()
    assert filter_failures(Passing, Deny("no")) == set()
    assert filter_failures(stream_that(feed=lambda self, data: [data, b"!"] if not data else [data])) == set()


@pytest.mark.parametrize("answer", [0, b"", Allow(), object()])
def test_a_body_filter_that_answers_nonsense_is_found_out(answer: Any) -> None:
    assert "test_it_answers_every_head" in filter_failures(Passing, answer)


@pytest.mark.parametrize(("answer", "shown"), [(None, "None"), ("text", "'text'"), (["a"], "['a']")])
def test_what_a_body_filter_answered_is_shown(answer: Any, shown: str) -> None:
    """Seen: "can only join an iterable"."""
    stream = stream_that(feed=lambda self, data: answer)
    case = type(
        "Case",
        (BodyFilterContract,),
        {"streams": lambda self, made: iter([stream()]), "make_filter": lambda self: None},
    )
    with pytest.raises(AssertionError, match=re.escape(f"feed() answered {shown}, which is neither")):
        case().test_cuts_do_not_matter()


def test_a_body_filter_without_a_stream_to_test_is_found_out() -> None:
    assert filter_failures(lambda: None) == {"test_it_answers_every_head"}


def test_a_stream_that_depends_on_cuts_is_found_out() -> None:
    assert "test_cuts_do_not_matter" in filter_failures(stream_that(keeps_length=False, feed=lambda self, data: b"x"))


def test_a_stream_that_several_bodies_share_is_found_out() -> None:
    def feed(self: Any, data: bytes) -> bytes:
        self.count += 1
        return data if self.count % 3 else data.upper()

    assert "test_cuts_do_not_matter" in filter_failures(stream_that(feed=feed), shared=True)


def test_a_stream_that_breaks_its_promise_of_length_is_found_out() -> None:
    assert "test_it_keeps_the_length_if_it_says_so" in filter_failures(stream_that(feed=lambda self, data: data * 2))


def test_a_stream_that_needs_a_body_is_found_out() -> None:
    broken = stream_that(end=lambda self: b"" if self.count else None)
    assert "test_a_body_may_be_empty_or_never_end" in filter_failures(broken)
