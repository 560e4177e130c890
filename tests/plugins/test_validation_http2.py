"""``http2`` lets pass what begins with the preface and settings of HTTP/2."""

from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, Outcome, outcome
from twisted_lb.api import IValidator
from twisted_lb.testing import ValidatorContract
from twisted_lb_plugins.validation_http2 import Http2Options, Http2Validator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CURL = PREFACE + b"\0\0\x12\4\0\0\0\0\0" + b"\0\3\0\0\0\x64" + b"\0\4\0\xa0\0\0" + b"\0\2\0\0\0\0"
WRONG = PREFACE + b"\0\0\x06\4\0\0\0\0\0" + b"\0\2\0\0\0\2"


class TestContract(ValidatorContract, SynchronousTestCase):
    """``http2`` keeps what every validator promises."""

    accepted = (CURL, CURL + b"more", PREFACE + b"\0\0\0\4\0\0\0\0\0")
    refused = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", WRONG, PREFACE + b"\0\0\0\1\0\0\0\0\1")

    def make_validator(self) -> IValidator:
        return Http2Validator(Http2Options())


def test_the_settings_are_learnt() -> None:
    learnt = {"protocol": "http2", "http2.valid": True, "http2.settings": ("3:100", "4:10485760", "2:0")}
    assert outcome(Http2Validator(Http2Options()), [(CLIENT, CURL)]) == Outcome(None, learnt, True)


def test_who_speaks_http2_is_told_what_was_wrong_and_others_are_not() -> None:
    validator = Http2Validator(Http2Options())
    assert outcome(validator, [(CLIENT, WRONG)]).farewell.endswith(b"\7\0" + bytes(8) + b"\0\0\0\1")
    assert outcome(validator, [(CLIENT, b"GET / HTTP/1.1\r\n\r\n")]).farewell == b""


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    validator = Http2Validator(Http2Options(accept_invalid=True))
    for data in (WRONG, b"GET / HTTP/1.1\r\n\r\n"):
        assert outcome(validator, [(CLIENT, data)]) == Outcome(None, {"http2.valid": False}, True)
