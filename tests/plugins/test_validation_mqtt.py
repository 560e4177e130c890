"""``mqtt``: the client introduces itself, and the server answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_mqtt import MqttOptions, MqttValidator

CONNECT = b"\x10\x25\x00\x04MQTT\x04\xce\x00\x0a\x00\x03dev\x00\x04will\x00\x02\xff\x00\x00\x05alice\x00\x03key"
CONNECT_5 = b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x04\x15\x00\x01x\x00\x03dev"
SUBSCRIBE = b"\x82\x06\x00\x01\x00\x01t\x00"
CONNACK, CONNACK_5 = b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00"
AUTH = b"\xf0\x06\x18\x04\x15\x00\x01x"
LEARNT = {
    "protocol": "mqtt",
    "mqtt.valid": True,
    "mqtt.version": "3.1.1",
    "mqtt.client_id": "dev",
    "mqtt.user": "alice",
}
LEARNT_5 = {
    "protocol": "mqtt",
    "mqtt.valid": True,
    "mqtt.version": "5.0",
    "mqtt.client_id": "dev",
    "mqtt.auth_method": "x",
}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(MqttValidator(MqttOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``mqtt`` keeps what every validator promises."""

    accepted = (CONNECT, CONNECT + SUBSCRIBE, CONNECT_5)
    refused = (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\x10\x0f\x00\x04MQTX\x04\x02\x00\x3c\x00\x03dev", CONNACK)

    passed = (
        [(CLIENT, CONNECT + SUBSCRIBE), (SERVER, CONNACK + b"more"), (CLIENT, SUBSCRIBE), (SERVER, b"more")],
        [(CLIENT, CONNECT_5), (SERVER, AUTH + b"more")],
    )
    ended = (
        [(CLIENT, CONNECT), (SERVER, CONNACK_5)],
        [(CLIENT, CONNECT), (SERVER, AUTH)],
        [(CLIENT, CONNECT_5), (SERVER, b"HTTP/1.1 400 Bad Request\r\n")],
        [(CLIENT, CONNACK), (SERVER, CONNACK)],
    )

    def make_validator(self) -> IStreamValidator:
        return MqttValidator(MqttOptions())


def test_the_packet_is_learnt_from_and_the_answer_ends_the_watch() -> None:
    assert told([(CLIENT, CONNECT), (SERVER, CONNACK), (CLIENT, SUBSCRIBE)]) == Outcome(None, LEARNT, True)
    assert told([(CLIENT, CONNECT + SUBSCRIBE), (SERVER, CONNACK)]) == Outcome(None, LEARNT, True)


def test_in_version_5_the_server_may_ask_before_it_answers() -> None:
    for answer in (CONNACK_5, AUTH):
        assert told([(CLIENT, CONNECT_5), (SERVER, answer)]) == Outcome(None, LEARNT_5, True)


@pytest.mark.parametrize(
    ("first", "answer", "farewell"),
    [
        (CONNECT, b"\x30\x05\x00\x01tab", b"\x20\x02\x00\x03"),
        (CONNECT, CONNACK_5, b"\x20\x02\x00\x03"),
        (CONNECT, AUTH, b"\x20\x02\x00\x03"),
        (CONNECT_5, b"HTTP/1.1 400 Bad Request\r\n", b"\x20\x03\x00\x88\x00"),
    ],
)
def test_a_server_that_answers_something_else_is_refused(first: bytes, answer: bytes, farewell: bytes) -> None:
    refused = told([(CLIENT, first), (SERVER, answer)])
    assert (refused.refused, refused.farewell, refused.learnt["mqtt.valid"]) == ("mqtt-answer", farewell, False)


@pytest.mark.parametrize(
    ("said", "reason", "farewell"),
    [
        (b"GET / HTTP/1.1\r\n", "mqtt-packet", b""),
        (b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x3c\x00\x03dev", "mqtt-version", b"\x20\x03\x00\x84\x00"),
        (b"\x10\x0f\x00\x04MQTT\x02\x02\x00\x3c\x00\x03dev", "mqtt-version", b"\x20\x02\x00\x01"),
        (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00", "mqtt-client-id", b"\x20\x02\x00\x02"),
        (b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x3c\x00\x03dev", "mqtt-flags", b"\x20\x02\x00\x05"),
        (b"\x10\x10\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x03dev", "mqtt-flags", b"\x20\x03\x00\x82\x00"),
    ],
)
def test_a_client_that_breaks_a_rule_is_told_in_its_version(said: bytes, reason: str, farewell: bytes) -> None:
    refused = told([(CLIENT, said)])
    assert (refused.refused, refused.farewell) == (reason, farewell)


def test_what_breaks_a_rule_passes_if_it_may_and_can_be_told() -> None:
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n")], accept_invalid=True) == Outcome(None, {"mqtt.valid": False}, True)
    passed = told([(CLIENT, CONNECT), (SERVER, b"HTTP")], accept_invalid=True)
    assert passed == Outcome(None, {**LEARNT, "mqtt.valid": False}, True)


@given(st.binary(max_size=12), st.sampled_from([CONNECT, CONNECT_5]), st.integers(0, 30))
def test_any_conversation_comes_out_the_same_however_it_is_cut(said: bytes, first: bytes, at: int) -> None:
    told([(CLIENT, first), *([(SERVER, said)] if said else [])])
    told([(CLIENT, first[:at] + said + first[at + len(said) :])])
