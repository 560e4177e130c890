"""A TLS handshake is told by its first two bytes, wherever they are cut."""

import pytest

from twisted_lb.errors import WireError
from twisted_lb.wire.tls_start import TlsStart


@pytest.mark.parametrize("pieces", [[b"\x16\x03\x01\x02"], [b"\x16", b"\x03\x01"], [b"\x16\x03"]])
def test_a_handshake_is_told_by_its_first_two_bytes(pieces: list[bytes]) -> None:
    start = TlsStart("no-tls")
    assert [start.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_nothing_is_decided_before_a_byte_has_come() -> None:
    assert not TlsStart("no-tls").feed(b"")


@pytest.mark.parametrize(("data", "offset"), [(b"\x17\x03\x01", 0), (b"\x16\x02", 1), (b"GET / HTTP/1.1", 0)])
def test_anything_else_is_refused_at_its_first_wrong_byte(data: bytes, offset: int) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        start = TlsStart("no-tls")
        with pytest.raises(WireError, match=f"no-tls at byte {offset}"):
            assert not any(map(start.feed, pieces))
