"""The preface of HTTP/2 and the settings behind it are read exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http2_preface import MAX_SETTINGS, PREFACE, http2_refusal, read_http2_preface


def frame(payload: bytes = b"", kind: int = 4, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return PREFACE + frame(b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


ACCEPTED = {
    "empty": (settings(), ()),
    "curl": (settings((3, 100), (4, 10485760), (2, 0)), ((3, 100), (4, 10485760), (2, 0))),
    "unknown": (settings((0x5A5A, 7)), ((0x5A5A, 7),)),
    "reserved-bit": (PREFACE + frame(stream=1 << 31), ()),
    "unknown-flags": (PREFACE + frame(flags=0xFE), ()),
    "most": (settings(*[(9, 1)] * MAX_SETTINGS), ((9, 1),) * MAX_SETTINGS),
    "limits": (settings((4, 2**31 - 1), (5, 2**14), (5, 2**24 - 1)), ((4, 2**31 - 1), (5, 2**14), (5, 2**24 - 1))),
}
REFUSED = {
    "http1": ("http2-preface", b"GET / HTTP/1.1\r\n\r\n"),
    "pri": ("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n\n"),
    "headers": ("http2-frame", PREFACE + frame(b"abcdef", kind=1)),
    "ack": ("http2-frame", PREFACE + frame(flags=1)),
    "stream": ("http2-frame", PREFACE + frame(stream=1)),
    "odd": ("http2-frame-size", PREFACE + frame(b"seven..")),
    "many": ("http2-frame-size", settings(*[(9, 1)] * (MAX_SETTINGS + 1))),
    "huge": ("http2-frame-size", PREFACE + b"\xff\xff\xfc\4\0\0\0\0\0"),
    "push": ("http2-setting", settings((2, 2))),
    "window": ("http2-window", settings((4, 2**31))),
    "frame-small": ("http2-setting", settings((5, 2**14 - 1))),
    "frame-large": ("http2-setting", settings((5, 2**24))),
    "connect": ("http2-setting", settings((8, 2))),
}


@pytest.mark.parametrize("key", ACCEPTED)
def test_what_clients_begin_with_is_read(key: str) -> None:
    data, found = ACCEPTED[key]
    assert read_http2_preface(data) == read_http2_preface(data + b"more") == found


@pytest.mark.parametrize("key", REFUSED)
def test_what_no_client_begins_with_is_refused(key: str) -> None:
    reason, data = REFUSED[key]
    with pytest.raises(WireError, match=f"^{reason} "):
        read_http2_preface(data)


def test_the_first_wrong_byte_is_enough_and_is_told() -> None:
    assert isinstance(read_http2_preface(b"PRI"), NeedMore)
    with pytest.raises(WireError, match="http2-preface at byte 2"):
        read_http2_preface(b"PRO")


def test_a_refusal_is_settings_and_goaway_but_only_to_who_speaks_http2() -> None:
    assert http2_refusal("http2-preface") == b""
    for reason, code in (("http2-frame", 1), ("http2-setting", 1), ("http2-window", 3), ("http2-frame-size", 6)):
        goaway = frame(bytes(4) + code.to_bytes(4, "big"), kind=7)
        assert http2_refusal(reason) == frame() + goaway


def told(data: bytes, *ends: int) -> object:
    """The answer that comes first, when only so many bytes are there at a time."""
    for end in ends:
        try:
            found = read_http2_preface(data[:end])
        except WireError as error:
            return error.reason
        if not isinstance(found, NeedMore):
            return found
        assert end < found.at_least or not found.at_least
    return None


GOLDEN = [data for data, _ in ACCEPTED.values()] + [data for _, data in REFUSED.values()]


@pytest.mark.parametrize("data", GOLDEN)
def test_every_cut_leads_to_the_same_answer(data: bytes) -> None:
    whole = told(data, len(data))
    assert told(data, *range(1, len(data) + 1)) == whole
    for cut in range(1, len(data)):
        assert told(data, cut, len(data)) == whole


@given(st.binary(max_size=40), st.integers(1, 60))
def test_any_bytes_behind_the_preface_get_the_same_answer_however_they_are_cut(rest: bytes, cut: int) -> None:
    for data in (PREFACE + rest, PREFACE + frame(rest), rest):
        assert told(data, min(cut, len(data)), len(data)) == told(data, len(data))
