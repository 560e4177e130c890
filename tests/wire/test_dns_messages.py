"""Messages of DNS are cut out of a stream, with no more of each than is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.dns_spelling import answer, message
from twisted_lb.errors import WireError
from twisted_lb.wire.dns_messages import DnsHead, DnsMessages, read_dns_head


def test_only_what_is_asked_for_is_kept_of_each_message() -> None:
    one, two = message(id_=1), message(id_=2, rest=bytes(300))
    assert DnsMessages().feed(one + two) == [one[:14], two[:14]]
    assert DnsMessages(9999).feed(one + two + one[:5]) == [one, two]


def test_a_head_is_there_before_its_message_is() -> None:
    assert DnsMessages().feed(message()[:14]) == [message()[:14]]


def test_a_head_says_whether_it_is_an_answer() -> None:
    assert read_dns_head(message()[:14]) == DnsHead(0x1234, False)
    assert read_dns_head(answer(7)) == DnsHead(7, True)


@pytest.mark.parametrize(("data", "reason"), [(b"\0\x0b", "dns-length"), (b"\x02\x59", "dns-long")])
def test_lengths_have_bounds(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        DnsMessages(max_bytes=600).feed(data + b"x")


@given(
    st.lists(st.integers(12, 40).map(lambda length: length.to_bytes(2, "big") + bytes(length))),
    st.lists(st.integers(1, 30)),
    st.sampled_from([12, 20, 99]),
)
def test_every_cut_gives_the_same_messages(messages: list[bytes], sizes: list[int], keep_bytes: int) -> None:
    stream = b"".join(messages)
    cut = DnsMessages(keep_bytes)
    found = []
    at = 0
    for size in [*sizes, len(stream)]:
        found += cut.feed(stream[at : at + size])
        at += size
    assert found == [one[: keep_bytes + 2] for one in messages]
