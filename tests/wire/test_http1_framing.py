"""Content-Length and Transfer-Encoding say where a body ends once, clearly, or not at all."""

import pytest

from twisted_lb.wire.http1_framing import FieldLine, coding_rule, length_rule


def lines(name: bytes, values: list[bytes]) -> list[FieldLine]:
    return [FieldLine(name, value, number) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        *(([], ("", 0)), ([b"0"], ("", 0)), ([b"0" * 5000 + b"7"], ("", 0)), ([b"9" * 18], ("", 0))),
        *(([b"9" * 19], ("http1-length", 0)), ([b""], ("http1-length", 0)), ([b"1 "], ("http1-length", 0))),
        *(([b"1,1"], ("http1-length-twice", 0)), ([b"1", b"1"], ("http1-length-twice", 1))),
    ],
)
def test_a_length_is_one_number(values: list[bytes], rule: tuple[str, int]) -> None:
    assert length_rule(lines(b"Content-Length", values)) == rule


@pytest.mark.parametrize(
    ("values", "version", "rule"),
    [
        *(([], b"1.0", ("", 0)), ([b"Chunked"], b"1.1", ("", 0)), ([b"chunked"], b"1.0", ("http1-coding-version", 0))),
        *(([b"chunked", b""], b"1.1", ("http1-coding-twice", 1)), ([b"gzip"], b"1.1", ("http1-coding", 0))),
        ([b"GZIP, x-compress, chunked"], b"1.1", ("http1-coding-known", 0)),
        ([b"gzip, br, chunked"], b"1.1", ("http1-coding-unknown", 0)),
    ],
)
def test_a_coding_is_chunked(values: list[bytes], version: bytes, rule: tuple[str, int]) -> None:
    assert coding_rule(lines(b"Transfer-Encoding", values), version) == rule
