"""CONNECT packets of all three versions, byte for byte; the numbers are sections of the specifications."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.mqtt import Connect, read_answer, read_connect, read_length, refusal, version_of


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def varint(number: int) -> bytes:
    out = b""
    while True:
        number, digit = divmod(number, 128)
        out += bytes([digit | (0x80 if number else 0)])
        if not number:
            return out


def connect(head: bytes, flags: int, payload: bytes, properties: bytes = b"") -> bytes:
    body = head + bytes([flags]) + b"\0\x3c" + properties + payload
    return b"\x10" + varint(len(body)) + body


THREE, FOUR, FIVE = b"\0\x06MQIsdp\x03", b"\0\x04MQTT\x04", b"\0\x04MQTT\x05"
# 3.1.1, figure 3.6: user name, password, will with QoS 1, clean session, 10 seconds; the payload is ours.
FIGURE = b"\x10\x25\x00\x04MQTT\x04\xce\x00\x0a\x00\x03dev\x00\x04will\x00\x02\xff\x00\x00\x05alice\x00\x03key"
# 5.0, figure 3.6: likewise, and a session expiry interval of 10 s.
FIGURE_5 = (
    b"\x10\x2b\x00\x04MQTT\x05\xce\x00\x0a\x05\x11\x00\x00\x00\x0a"
    b"\x00\x03dev\x00"
    b"\x00\x04will\x00\x02\xff\x00\x00\x05alice\x00\x02ke"
)
SMALL = connect(FOUR, 2, text("dev"))


def five(properties: bytes, flags: int = 2, payload: bytes = b"\0\x03dev") -> bytes:
    return connect(FIVE, flags, payload, varint(len(properties)) + properties)


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (FIGURE, Connect(39, "3.1.1", "dev", "alice")),
        (FIGURE_5, Connect(45, "5.0", "dev", "alice")),
        (SMALL, Connect(17, "3.1.1", "dev")),
        (connect(THREE, 2, text("dev")), Connect(19, "3.1", "dev")),
        (connect(THREE, 3, text("dev")), Connect(19, "3.1", "dev")),
        (connect(FOUR, 2, text("")), Connect(14, "3.1.1", "")),
        (five(b"", 0, text("")), Connect(15, "5.0", "")),
        (five(b"", 0x40, text("dev") + text(b"\xff")), Connect(21, "5.0", "dev")),
        (five(b"\x15\0\x01x\x16\0\x01\xff"), Connect(26, "5.0", "dev", None, "x")),
        (
            five(b"\x26\0\x01a\0\x01b" * 3 + b"\x21\0\x01\x22\0\0\x17\0\x19\x01\x27\0\0\0\x01"),
            Connect(54, "5.0", "dev"),
        ),
        (connect(FOUR, 2, text("x" * 200)), Connect(215, "3.1.1", "x" * 200)),
    ],
)
def test_a_packet_is_read(data: bytes, packet: Connect) -> None:
    assert read_connect(data) == read_connect(data + b"\xc0\0") == packet
    for end in range(1, len(data)):
        need = read_connect(data[:end])
        assert isinstance(need, NeedMore)
        assert end < need.at_least <= len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x20\x02\0\0", "mqtt-packet"),  # not a CONNECT, 3.1.0-1
        (b"\x11", "mqtt-packet"),  # 2.2.2: reserved flags
        (b"GET / HTTP/1.1\r\n", "mqtt-packet"),
        (b"\x10\xff\xff\xff\xff", "mqtt-length"),  # 2.2.3: four bytes at most
        (b"\x10\x8f\x00", "mqtt-length"),
        (b"\x10\xff\xff\x7f", "mqtt-length"),
        (b"\x10\x09", "mqtt-field"),
        (connect(b"\0\x04MQTX\x04", 2, text("dev")), "mqtt-protocol"),  # 3.1.2-1
        (connect(b"\0\x09MQTT12345\x04", 2, text("dev")), "mqtt-protocol"),
        (connect(b"\0\x04MQTT\x03", 2, text("dev")), "mqtt-version"),  # 3.1.2-2
        (connect(b"\0\x04MQTT\x06", 2, text("dev")), "mqtt-version"),
        (connect(b"\0\x06MQIsdp\x04", 2, text("dev")), "mqtt-version"),
        (connect(FOUR, 3, text("dev")), "mqtt-flags"),  # 3.1.2-3
        (connect(FOUR, 0x0A, text("dev")), "mqtt-flags"),  # 3.1.2-13
        (connect(FOUR, 0x22, text("dev")), "mqtt-flags"),  # 3.1.2-15
        (connect(FOUR, 0x1E, text("dev") + text("t") + text("")), "mqtt-flags"),  # 3.1.2-14
        (connect(FOUR, 0x42, text("dev") + text("pw")), "mqtt-flags"),  # 3.1.2-22
        (connect(THREE, 0x42, text("dev") + text("pw")), "mqtt-flags"),
        (connect(FOUR, 0, text("")), "mqtt-client-id"),  # 3.1.3-8
        (connect(THREE, 2, text("")), "mqtt-client-id"),
        (connect(FOUR, 2, text(b"\xff")), "mqtt-text"),  # 1.5.3-1
        (connect(FOUR, 2, text(b"\xed\xa0\x80")), "mqtt-text"),
        (connect(FOUR, 2, text("a\0b")), "mqtt-text"),  # 1.5.3-2
        (connect(FOUR, 2, b"\0\x09dev"), "mqtt-field"),
        (connect(FOUR, 6, text("dev") + text("t")), "mqtt-field"),
        (connect(FOUR, 6, text("dev") + text("") + text("")), "mqtt-will"),
        (connect(FOUR, 6, text("dev") + text("a/#") + text("")), "mqtt-will"),
        (connect(FOUR, 0x82, text("dev")), "mqtt-field"),
        (connect(FOUR, 2, text("dev") + text("me")), "mqtt-trailing"),
        (five(b"\x01\x00"), "mqtt-properties"),
        (five(b"\x11\0\0\0\x01" * 2), "mqtt-properties"),  # 3.1.2.11: once
        (five(b"\x21\0\0"), "mqtt-properties"),
        (five(b"\x27\0\0\0\0"), "mqtt-properties"),
        (five(b"\x17\x02"), "mqtt-properties"),
        (five(b"\x16\0\x01x"), "mqtt-properties"),  # 3.1.2.11.10: data without a method
        (five(b"\x11\0\0"), "mqtt-field"),
        (five(b"\x26\0\x01a\0\x01"), "mqtt-field"),
        (connect(FIVE, 2, text("dev"), b"\x7f"), "mqtt-field"),
        (connect(FIVE, 2, text("dev"), b"\xff\xff\xff\xff"), "mqtt-length"),
        (five(b"", 6, text("dev") + b"\x02\x11\0" + text("t") + text("")), "mqtt-properties"),
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_connect(data)
    assert caught.value.reason == reason


def test_what_is_another_protocol_is_refused_before_the_packet_is_whole() -> None:
    data = connect(b"\0\x04MQTX\x04", 2, text("x" * 500))
    with pytest.raises(WireError, match="mqtt-protocol"):
        read_connect(data[:13])


def test_a_will_of_version_5_has_properties() -> None:
    properties = b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01a\x08\0\x01b\x09\0\x01\xff\x26\0\x01a\0\x01b"
    will = varint(len(properties)) + properties + text("t") + text("")
    assert read_connect(five(b"", 0x2E, text("dev") + will)) == Connect(55, "5.0", "dev")


@pytest.mark.parametrize("number", [0, 127, 128, 16383, 16384, 2097151, 2097152, 268435455])
def test_lengths_are_read(number: int) -> None:
    assert read_length(b"x" + varint(number), 1) == (number, len(varint(number)))
    assert read_length(varint(number)[:-1], 0) is None


@pytest.mark.parametrize(
    ("head", "version"),
    [
        (THREE, "3.1"),
        (FOUR + b"\x02", "3.1.1"),
        (FIVE, "5.0"),
        (b"\0\x06MQIsdp\x83", "3.1"),
        (b"\0\x04MQTT\x84", "3.1.1"),
    ],
)
def test_versions_are_told_by_name_and_level(head: bytes, version: str) -> None:
    assert version_of(head) == version


@pytest.mark.parametrize(
    ("data", "version", "method"),
    [
        (b"\x20\x02\0\0", "3.1.1", None),
        (b"\x20\x02\x01\0", "3.1.1", None),
        (b"\x20\x02\0\x05", "3.1", None),
        (b"\x20\x03\0\0\0", "5.0", None),
        (b"\x20\x08\x01\x87\x05\x11\0\0\0\x01", "5.0", "x"),
        (b"\xf0\x06\x18\x04\x15\0\x01x", "5.0", "x"),
    ],
)
def test_answers_of_a_server_are_known_by_their_front(data: bytes, version: str, method: str | None) -> None:
    assert read_answer(data, version, method) is True
    ends = [end for end in range(1, len(data)) if isinstance(read_answer(data[:end], version, method), NeedMore)]
    assert ends == list(range(1, len(ends) + 1))


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"\x30\x02\0\0", "3.1.1"),
        (b"\x20\x03\0\0\0", "3.1.1"),
        (b"\x20\x02\x02\0", "3.1.1"),
        (b"\x20\x02\0\x06", "3.1.1"),
        (b"\x20\x02\0\0", "5.0"),
        (b"\x20\x03\0\x01\0", "5.0"),
        (b"\x20\xff\xff\xff\xff", "5.0"),
        (b"\xf0\x06\x18\x04\x15\0\x01x", "5.0"),
        (b"220 mail\r\n", "3.1.1"),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes, version: str) -> None:
    with pytest.raises(WireError, match="mqtt-answer"):
        read_answer(data, version, None)


def test_refusals_have_the_form_of_their_version() -> None:
    assert refusal("3.1.1", 5) == b"\x20\x02\0\x05"
    assert refusal("5.0", 0x82) == b"\x20\x03\0\x82\0"
    assert read_answer(refusal("5.0", 0x82), "5.0", None) is True


GOOD = [FIGURE, FIGURE_5, SMALL, five(b"\x15\0\x01x\x16\0\x01\xff")]
CHANGED = st.tuples(st.sampled_from(GOOD), st.integers(0, 44), st.binary(max_size=3))


def _fault(data: bytes) -> Any:
    try:
        return read_connect(data)
    except WireError as error:
        return error.reason


@given(st.one_of(st.binary(max_size=40), CHANGED.map(lambda one: one[0][: one[1]] + one[2] + one[0][one[1] + 1 :])))
def test_any_bytes_give_a_packet_need_more_or_a_wire_error_and_cuts_do_not_matter(data: bytes) -> None:
    whole = _fault(data)
    early = [_fault(data[:end]) for end in range(1, len(data) + 1)]
    assert next((one for one in early if not isinstance(one, NeedMore)), whole) == whole
