"""The careful reading names the first byte that is wrong. That it agrees with the quick one is asked beside that."""

import pytest

from twisted_lb.wire.http1 import STRICT, Http1Error
from twisted_lb.wire.http1_explain import explain_request


@pytest.mark.parametrize(
    ("data", "rule", "offset"),
    [
        (b"GET\t/ HTTP/1.1\r\n", "http1-method", 3),
        (b"GET /\0 HTTP/1.1\r\n", "http1-target", 5),
        (b"GET /a#b HTTP/1.1\r\n", "http1-target-bytes", 6),
        (b"GET / HTTP/1,1\r\n", "http1-version-malformed", 12),
        (b"GET / HTTP/1.1\r\nA: b\r\nC : d", "http1-space-before-colon", 23),
        (b"GET / HTTP/1.1\r\nA: b\x01\r\n", "http1-field-value", 20),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "http1-host-twice", 25),
        (b"\r\nGET / HTTP/1.1\r\nHost: a b\r\n\r\n", "http1-host", 18),
        (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", "http1-target", 4),
    ],
)
def test_the_offset_is_that_of_the_offending_byte_or_line(data: bytes, rule: str, offset: int) -> None:
    with pytest.raises(Http1Error) as caught:
        explain_request(b"before" + data, 6, STRICT)
    assert (caught.value.reason, caught.value.offset) == (rule, offset)


def test_a_head_that_may_pass_is_given_back_whole() -> None:
    data = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"
    assert explain_request(data, 0, STRICT) == (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", len(data), ())
    assert explain_request(data[:-1], 0, STRICT) is None
