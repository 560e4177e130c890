"""``http1`` lets pass what begins with a request that HTTP mode would take."""

from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, Outcome, outcome, talk
from twisted_lb.api import IValidator, parse_request
from twisted_lb.testing import ValidatorContract
from twisted_lb_plugins import validation_http1
from twisted_lb_plugins.validation_http1 import Http1Options, Http1Validator

GET = b"GET /path?query HTTP/1.1\r\nHost: Www.Example.org:8080\r\nAccept: */*\r\n\r\n"
POST = b"POST http://example.org/form HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello"
OLD = b"GET / HTTP/1.0\r\n\r\n"
SMUGGLED = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"


def told(data: bytes, **options: Any) -> Outcome:
    return outcome(Http1Validator(Http1Options(**options)), [(CLIENT, data)])


class TestContract(ValidatorContract, SynchronousTestCase):
    """``http1`` keeps what every validator promises."""

    accepted = (GET, POST, OLD, b"\r\n" + GET)
    refused = (
        b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n",
        b"\x16\x03\x01\x02\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        SMUGGLED,
    )

    def make_validator(self) -> IValidator:
        return Http1Validator(Http1Options())


@pytest.mark.parametrize(
    ("data", "method", "host", "path", "version"),
    [
        (GET, "GET", "www.example.org", "/path", "1.1"),
        (POST, "POST", "example.org", "/form", "1.1"),
        (OLD, "GET", None, "/", "1.0"),
        (b"GET /%41 HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET", "[::1]", "/%41", "1.1"),
    ],
)
def test_the_request_is_learnt(data: bytes, method: str, host: str | None, path: str, version: str) -> None:
    learnt = {
        "protocol": "http1",
        "http1.valid": True,
        "http1.method": method,
        **({} if host is None else {"http1.host": host}),
        "http1.path": path,
        "http1.version": version,
    }
    assert told(data) == Outcome(None, learnt, True)


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (SMUGGLED, "http1-coding-and-length", b"400 Bad Request"),
        (b"GET / HTTP/2.0\r\n", "http1-version", b"505 HTTP Version Not Supported"),
        (b"GET / HTTP/1.1\r\n\r\n", "http1-host-missing", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "http1-space-before-colon", b"400 Bad Request"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_answered(data: bytes, reason: str, status: bytes) -> None:
    refused = told(data)
    assert refused.refused == reason
    assert refused.farewell == b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def test_the_head_has_bounds() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n"
    assert told(head + b"A: " + b"x" * 300 + b"\r\n\r\n", max_head_bytes=256).refused == "http1-head-long"
    assert told(head + b"A: x\r\n" * 4 + b"\r\n", max_fields=4).refused == "http1-fields"
    assert told(head + b"A: x\r\n" * 3 + b"\r\n", max_fields=4).refused is None


def test_a_long_head_byte_by_byte_is_read_again_with_each_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def parse(data: bytes, *args: Any) -> Any:
        looks.append(len(data))
        return parse_request(data, *args)

    monkeypatch.setattr(validation_http1, "parse_request", parse)
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: %b\r\n" % (number, b"x" * 900) for number in range(5))
    for end, wanted in ((b"\r\n", None), (b"A : b\r\n\r\n", "http1-space-before-colon"), (b"B: " + bytes(9), None)):
        looks.clear()
        pieces = [(CLIENT, bytes([byte])) for byte in head + end]
        assert talk(Http1Validator(Http1Options()), pieces).refused == wanted
        assert len(looks) < validation_http1.LOOKED_AT_ANYWAY + 10
    told(head + b"\r\n" + b"body" * 300)
    told(head + b"A : b\r\n\r\n")
    told(head + b"A: " + b"x" * 900, max_head_bytes=2000)


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    spaced = told(b"GET /x HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", accept_invalid=True)
    assert (spaced.refused, spaced.learnt["http1.valid"], spaced.learnt["http1.path"]) == (None, False, "/x")
    assert told(SMUGGLED, accept_invalid=True) == Outcome(None, {"http1.valid": False}, True)
    assert told(b"SSH-2.0-x\r\n", accept_invalid=True) == Outcome(None, {"http1.valid": False}, True)
