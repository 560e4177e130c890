"""``canary`` keeps every body filter's promises, and its own."""

from unittest import TestCase

from lb_canary import CanaryOptions, Watch, build

from twisted_lb.api import Deny, IBodyFilter
from twisted_lb.testing import BodyFilterContract, make_facts, make_response


class TestContract(BodyFilterContract, TestCase):
    """What every body filter promises, however a body is cut: here also one in which there is something to find."""

    bodies = (b"nothing to see", b"before the canary, and after", b"the canar")

    def make_filter(self) -> IBodyFilter:
        """Make the filter under test."""
        return build(CanaryOptions(text="the canary"))


def test_no_byte_of_the_text_leaves_before_it_is_found() -> None:
    """It may come in any two pieces."""
    stream = Watch(b"the canary")
    assert stream.feed(b"before the can") == b"befor"
    assert isinstance(stream.feed(b"ary"), Deny)


def test_what_cannot_be_read_does_not_pass() -> None:
    """A server that compresses although it was not asked to may have sent the text all the same."""
    response = make_response(200, [("Content-Encoding", "br"), ("Content-Length", "1")])
    assert isinstance(build(CanaryOptions(text="the canary")).filter_response(make_facts(), response), Deny)
