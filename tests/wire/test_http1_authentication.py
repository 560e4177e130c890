"""Authentication that counts for a whole connection is recognised, and nothing else is taken for it."""

import pytest

from twisted_lb.wire.http1_authentication import authenticates_connection, challenges_connection
from twisted_lb.wire.http1_request import RequestHead, parse_request
from twisted_lb.wire.http1_response import ResponseHead, parse_response


def request(*fields: bytes) -> RequestHead:
    head = parse_request(b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *fields, b"", b""]))
    assert isinstance(head, RequestHead)
    return head


def response(*fields: bytes) -> ResponseHead:
    head = parse_response(b"\r\n".join([b"HTTP/1.1 401 Unauthorized", *fields, b"", b""]), request())
    assert isinstance(head, ResponseHead)
    return head


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: NTLM TlRMTVNTUAAB",
        b"authorization:negotiate YIIB",
        b"Authorization: \t Negotiate",
        b"Proxy-Authorization: nTlM abc",
    ],
)
def test_a_client_that_logs_its_connection_in(field: bytes) -> None:
    head = request(b"A: b", field, b"C: d")
    assert authenticates_connection(head)
    assert not head.plain, "nobody would ask"


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Basic bnRsbTpuZWdvdGlhdGU=",
        b"Authorization: Bearer ntlm",
        b"Authorization: NTLMv9 abc",
        b"Authorization: Negotiate-More abc",
        b"X-Authorization: NTLM abc",
        b"X: authorization: ntlm",
    ],
)
def test_a_client_that_does_not(field: bytes) -> None:
    assert not authenticates_connection(request(field))


@pytest.mark.parametrize(
    "fields",
    [
        [b"WWW-Authenticate: NTLM"],
        [b"WWW-Authenticate: Negotiate YII="],
        [b"Proxy-Authenticate: Negotiate"],
        [b'WWW-Authenticate: Basic realm="x", NTLM'],
        [b'WWW-Authenticate: Basic realm="x"', b"www-authenticate:ntlm"],
        [b'WWW-Authenticate: Basic realm="x",Negotiate'],
    ],
)
def test_a_server_that_asks_for_it(fields: list[bytes]) -> None:
    assert challenges_connection(response(*fields))


@pytest.mark.parametrize(
    "fields",
    [
        [b'WWW-Authenticate: Basic realm="x"'],
        [b"WWW-Authenticate: Digest-NTLM"],
        [b"X-WWW-Authenticate: NTLM"],
        [b'WWW-Authenticate: Basic realm="x"', b"X: NTLM"],
    ],
)
def test_a_server_that_does_not(fields: list[bytes]) -> None:
    assert not challenges_connection(response(*fields))
