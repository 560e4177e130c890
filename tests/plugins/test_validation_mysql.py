"""``mysql``: the server greets, and the client answers that."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome, talk
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_mysql import MysqlOptions, MysqlValidator

GREETING = (
    bytes.fromhex(
        "50 00 00 00 0a 35 2e 36 2e 34 2d 6d 37 2d 6c 6f 67 00 56 0a 00 00 52 42 33 76 7a 26 47 72 00 ff ff 08 02 00"
        "0f c0 15 00 00 00 00 00 00 00 00 00 00 2b 79 44 26 2f 5a 5a 33 30 35 5a 47 00"
    )
    + b"mysql_native_password\0"
)
RESPONSE = (
    bytes.fromhex(
        "54 00 00 01 8d a6 0f 00 00 00 00 01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
        "70 61 6d 00 14 ab 09 ee f6 bc b1 32 3e 61 14 38 65 c0 99 1d 95 7d 75 d4 47 74 65 73 74 00"
    )
    + b"mysql_native_password\0"
)
SSL_REQUEST = bytes.fromhex("20 00 00 01 05 ae 03 00 00 00 00 01 08" + "00" * 23)
OK = b"\x07\0\0\x02\0\0\0\x02\0\0\0"
HELLO = b"\x16\x03\x01\x00\x05hello"
TOO_MANY = b"\x17\x00\x00\x00\xff\x10\x04Too many connections"
GREETED = {"protocol": "mysql", "mysql.valid": True, "mysql.server_version": "5.6.4-m7-log"}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(MysqlValidator(MysqlOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``mysql`` keeps what every validator promises."""

    refused = (RESPONSE, b"GET / HTTP/1.1\r\n\r\n")
    passed = (
        [(SERVER, GREETING), (CLIENT, RESPONSE), (SERVER, OK), (CLIENT, b"whatever")],
        [(SERVER, GREETING), (CLIENT, SSL_REQUEST + HELLO), (SERVER, HELLO)],
        [(SERVER, TOO_MANY)],
    )
    ended = (
        [(CLIENT, RESPONSE), (SERVER, GREETING)],
        [(SERVER, TOO_MANY), (CLIENT, RESPONSE)],
        [(SERVER, GREETING + b"x")],
        [(SERVER, GREETING), (CLIENT, SSL_REQUEST), (CLIENT, RESPONSE)],
        [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n\r\n")],
    )

    def make_validator(self) -> IStreamValidator:
        return MysqlValidator(MysqlOptions())


def test_the_server_speaks_first() -> None:
    made = MysqlValidator(MysqlOptions())
    assert IStreamValidator.providedBy(made)
    assert made.server_first


def test_greeting_and_answer_are_learnt_from_and_end_the_watch() -> None:
    learnt = {**GREETED, "mysql.user": "pam", "mysql.database": "test"}
    assert told([(SERVER, GREETING), (CLIENT, RESPONSE), (SERVER, OK)]) == Outcome(None, learnt, True)


def test_tls_ends_the_watch() -> None:
    turns = [(SERVER, GREETING), (CLIENT, SSL_REQUEST), (CLIENT, HELLO), (SERVER, HELLO)]
    assert told(turns) == Outcome(None, GREETED, True)
    assert told([(SERVER, GREETING), (CLIENT, SSL_REQUEST + HELLO), (SERVER, HELLO)]) == Outcome(None, GREETED, True)


def test_a_server_may_refuse_and_then_there_is_nothing_to_answer() -> None:
    assert told([(SERVER, TOO_MANY)]).refused is None
    assert told([(SERVER, TOO_MANY), (CLIENT, RESPONSE)]).refused == "mysql-early"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(CLIENT, RESPONSE)], "mysql-early"),
        ([(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, GREETING)], "mysql-early"),
        ([(SERVER, GREETING[:40]), (CLIENT, RESPONSE)], "mysql-early"),
        ([(SERVER, b"SSH-2.0-OpenSSH_9.2\r\n")], "mysql-greeting-length"),
        ([(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n\r\n")], "mysql-length"),
        ([(SERVER, GREETING), (CLIENT, SSL_REQUEST), (CLIENT, RESPONSE)], "mysql-no-tls"),
    ],
)
def test_what_breaks_a_rule_is_refused(turns: Turns, reason: str) -> None:
    refused = told(turns)
    assert refused.refused == reason
    assert refused.learnt["mysql.valid"] is False


def test_what_comes_with_the_greeting_is_refused() -> None:
    assert told([(SERVER, GREETING + OK)]).refused == "mysql-greeting-rest"
    assert told([(SERVER, TOO_MANY + OK)]).refused == "mysql-greeting-rest"


def test_the_farewell_has_the_number_that_the_client_waits_for() -> None:
    refused = told([(SERVER, GREETING), (CLIENT, RESPONSE[:3] + b"\x07" + RESPONSE[4:])])
    assert refused.refused == "mysql-sequence"
    assert refused.farewell[3:13] == b"\x02\xff\x13\x04#08S01"
    assert told([(CLIENT, RESPONSE)]).farewell[3:] == b"\x00\xff\x13\x04Bad handshake"


def test_tls_can_be_required() -> None:
    refused = told([(SERVER, GREETING), (CLIENT, RESPONSE)], require_ssl=True)
    assert (refused.refused, refused.farewell[3:7]) == ("mysql-unencrypted", b"\x02\xff\x57\x0c")
    assert told([(SERVER, GREETING), (CLIENT, SSL_REQUEST + HELLO), (SERVER, HELLO)], require_ssl=True).passed


def test_what_breaks_a_rule_passes_if_it_may_and_can_be_told() -> None:
    turns = [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, b"x")]
    passed = told(turns, accept_invalid=True)
    assert (passed.refused, passed.learnt["mysql.valid"], passed.passed) == (None, False, True)
    assert told([(CLIENT, b"x"), (SERVER, b"y")], accept_invalid=True).learnt == {"mysql.valid": False}


SAID = st.sampled_from([SSL_REQUEST, RESPONSE, HELLO, b"x", RESPONSE[:30], RESPONSE[30:]])


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), SAID), max_size=5))
def test_any_conversation_is_refused_or_not_however_it_is_cut(turns: Turns) -> None:
    validator = MysqlValidator(MysqlOptions())
    whole = talk(validator, [(SERVER, GREETING), *turns])
    bytewise = [(who, said[at : at + 1]) for who, said in [(SERVER, GREETING), *turns] for at in range(len(said))]
    assert talk(validator, bytewise)[:2] == whole[:2]


def test_an_answer_of_the_most_bytes_in_single_ones_takes_linear_time() -> None:
    capabilities = 0x0000A200 | 1 << 20
    attributes = (b"\x01k\xfa" + bytes(250)) * 250
    rest = b"me\0\0\xfd" + len(attributes).to_bytes(3, "little") + attributes
    payload = capabilities.to_bytes(4, "little") + b"\0\0\0\x01\x21" + bytes(23) + rest
    packet = len(payload).to_bytes(3, "little") + b"\x01" + payload
    validator = MysqlValidator(MysqlOptions())
    greeting = GREETING.replace(b"\x0f\xc0", b"\xff\xff")
    pieces = [(SERVER, greeting), *((CLIENT, packet[at : at + 1]) for at in range(len(packet)))]
    assert talk(validator, pieces).learnt["mysql.user"] == "me"
