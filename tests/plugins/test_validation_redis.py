"""``redis`` lets pass what begins with a command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, Outcome, outcome
from twisted_lb.api import IStreamValidator, IValidator
from twisted_lb.testing import ValidatorContract
from twisted_lb_plugins.validation_redis import RedisOptions, RedisValidator

LLEN = b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n"


def told(said: bytes, **options: Any) -> Outcome:
    return outcome(RedisValidator(RedisOptions(**options)), [(CLIENT, said)])


class TestContract(ValidatorContract, SynchronousTestCase):
    """``redis`` keeps what every validator promises."""

    accepted = (LLEN, LLEN + b"more", b"PING\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nPING\r\n$400\r\n" + bytes(65))
    refused = (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"*1\r\nPING", b"*0\r\n", b"-ERR", b"\r\n" * 33)

    def make_validator(self) -> IValidator:
        return RedisValidator(RedisOptions())


@pytest.mark.parametrize(("said", "command"), [(LLEN, "LLEN"), (b"ping\r\n", "PING"), (b'"pi\\x6eg"\n', "PING")])
def test_the_first_command_is_learnt(said: bytes, command: str) -> None:
    learnt = {"protocol": "redis", "redis.valid": True, "redis.command": command}
    assert told(said) == Outcome(None, learnt, True)


def test_nobody_stays_on_the_connection() -> None:
    assert not IStreamValidator.providedBy(RedisValidator(RedisOptions()))


def test_a_large_value_is_not_waited_for() -> None:
    said = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"
    assert told(said).refused is None


def test_the_refusal_is_an_error_of_the_protocol() -> None:
    refused = told(b"GET / HTTP/1.1\r\n")
    assert (refused.refused, refused.farewell) == ("redis-http", b"-ERR Protocol error: redis-http\r\n")
    assert refused.learnt == {"redis.valid": False}


def test_lines_of_text_can_be_refused() -> None:
    assert told(b"PING\r\n", inline=False).refused == "redis-inline"
    assert told(LLEN, inline=False).refused is None


def test_what_breaks_a_rule_passes_if_it_may_and_can_be_told() -> None:
    assert told(b"GET / HTTP/1.1\r\n", accept_invalid=True) == Outcome(None, {"redis.valid": False}, True)


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_refused_or_not_however_they_are_cut(said: bytes) -> None:
    told(said)
