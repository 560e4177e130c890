"""A message is the same however its records and the network cut it; what is not part of it stays outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.hellos import behind, in_records, record
from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.tls_records import CLIENT, LONGEST_STREAM, SERVER, place_in_stream, read_message

FIRST = b"\x01" + behind(3, b"hello, this is the first message")


@given(st.sets(st.integers(1, len(FIRST) - 1)))
def test_a_message_comes_out_of_its_records_whole(cuts: set[int]) -> None:
    assert read_message(in_records(FIRST, *sorted(cuts)), CLIENT) == FIRST


@given(st.sets(st.integers(1, len(FIRST) - 1)), st.data())
def test_it_asks_for_no_more_than_the_message_takes(cuts: set[int], draw: st.DataObject) -> None:
    data = in_records(FIRST, *sorted(cuts))
    end = draw.draw(st.integers(0, len(data) - 1))
    found = read_message(data[:end], CLIENT)
    assert isinstance(found, NeedMore)
    assert end < found.at_least <= len(data)


@pytest.mark.parametrize(
    ("data", "at_least"),
    [
        (b"", 9),
        (b"\x16\x03\x01", 9),
        (record(FIRST)[:9], 5 + len(FIRST)),
        (record(FIRST)[:20], 5 + len(FIRST)),
        (record(FIRST[:10]), 5 + 5 + len(FIRST)),
        (record(FIRST[:10])[:12], 5 + 5 + len(FIRST)),
        (record(FIRST[:10]) + b"\x16\x03", 5 + 5 + len(FIRST)),
    ],
)
def test_what_is_missing_is_counted_as_if_it_came_in_one_record_more(data: bytes, at_least: int) -> None:
    assert read_message(data, CLIENT) == NeedMore(at_least)


def test_a_server_may_say_more_in_the_record_of_its_first_message_and_a_client_may_not() -> None:
    answer = b"\x02" + FIRST[1:]
    assert read_message(record(answer + b"more"), SERVER) == answer
    with pytest.raises(WireError, match="tls-record-rest at byte 3"):
        read_message(record(FIRST + b"more"), CLIENT)


def test_it_may_begin_further_on() -> None:
    assert read_message(b"1234567" + record(FIRST), CLIENT, 7) == FIRST
    with pytest.raises(WireError, match="tls-no-tls at byte 7"):
        read_message(b"1234567GET", CLIENT, 7)


def test_what_cannot_fit_is_refused_as_soon_as_its_length_is_known() -> None:
    fits = LONGEST_STREAM - 5 - 4
    assert isinstance(read_message(b"\x16\x03\x01\x40\x00\x01" + (fits - 5).to_bytes(3, "big"), CLIENT), NeedMore)
    with pytest.raises(WireError, match="tls-hello-long at byte 5"):
        read_message(b"\x16\x03\x01\x40\x00\x01" + (fits + 1).to_bytes(3, "big"), CLIENT)


@given(st.sets(st.integers(1, len(FIRST) - 1)), st.integers(0, len(FIRST) - 1))
def test_a_byte_of_the_message_is_found_in_the_stream(cuts: set[int], offset: int) -> None:
    marked = bytes(len(FIRST)).replace(b"\0", b"\1")
    marked = marked[:offset] + b"\xfe" + marked[offset + 1 :]
    data = in_records(marked, *sorted(cuts))
    assert data[place_in_stream(data, offset)] == 0xFE
    assert place_in_stream(b"1234567" + data, offset, 7) == 7 + place_in_stream(data, offset)


def test_a_place_behind_the_end_is_the_end() -> None:
    data = in_records(FIRST, 10)
    assert place_in_stream(data, len(FIRST)) == len(data)
