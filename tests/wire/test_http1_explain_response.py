"""The careful reading of responses names the first byte that is wrong."""

import pytest

from tests.wire.http1_corpus.cases import asked
from twisted_lb.wire.http1 import STRICT, Http1Error
from twisted_lb.wire.http1_explain_response import explain_response, websocket_accept


@pytest.mark.parametrize(
    ("data", "rule", "offset"),
    [
        (b"HTTP/1.1 2x", "http1-status-line", 10),
        (b"HTTP/1.1 200\tOK", "http1-status-line", 12),
        (b"HTTP/1.1 200 O\0K", "http1-reason-phrase", 14),
        (b"HTTP/1.1 200 OK\r\nA: b\r\nC\n", "http1-field-name", 24),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "http1-length", 17),
    ],
)
def test_the_offset_is_that_of_the_offending_byte_or_line(data: bytes, rule: str, offset: int) -> None:
    with pytest.raises(Http1Error) as caught:
        explain_response(data, 0, asked("get"), STRICT)
    assert (caught.value.reason, caught.value.offset, caught.value.status) == (rule, offset, 502)


def test_the_answer_to_a_key_is_that_of_rfc_6455() -> None:
    assert websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
