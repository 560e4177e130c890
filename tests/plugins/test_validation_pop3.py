"""``pop3`` lets pass a server that greets and a client that waits for it, and then begins with a command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_pop3 import Pop3Options, build

GREETING = b"+OK Dovecot ready. <1.2@mail.example.org>\r\n"
REFUSAL = b"-ERR protocol error\r\n"


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(build(Pop3Options(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``pop3`` keeps what every validator promises."""

    refused = (b"USER me\r\n", b"GET / HTTP/1.1\r\n\r\n")
    passed = (
        [(SERVER, GREETING), (CLIENT, b"USER me\r\n"), (SERVER, b"\0\n\r"), (CLIENT, b"\0\n\r")],
        [(SERVER, b"+OK\r\n"), (CLIENT, b"USER me\r\n")],
    )
    ended = (
        [(CLIENT, b"USER me\r\n")],
        [(SERVER, b"SSH-2.0-x\r\n")],
        [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n")],
        [(SERVER, GREETING), (CLIENT, b"USER me\r\n".replace(b"\r", b""))],
    )

    def make_validator(self) -> IStreamValidator:
        return build(Pop3Options())


@pytest.mark.parametrize("greeting", [GREETING, b"+OK\r\n", b"-ERR busy\r\n"])
@pytest.mark.parametrize("line", [b"USER me\r\n", b"capa\r\n", b"STLS\r\n\x16\x03"])
def test_the_first_command_is_learnt(greeting: bytes, line: bytes) -> None:
    learnt = {"protocol": "pop3", "pop3.valid": True, "pop3.command": line[:4].decode().upper()}
    assert told([(SERVER, greeting), (CLIENT, line), (SERVER, b"+OK\r\n")]) == Outcome(None, learnt, True)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(SERVER, b"* OK IMAP4rev1\r\n")], "pop3-greeting"),
        ([(SERVER, b"+OKAY\r\n")], "pop3-greeting"),
        ([(SERVER, b"+ok\r\n")], "pop3-greeting"),
        ([(SERVER, b"+OK" + b"x" * 20000)], "pop3-greeting-line-long"),
        ([(CLIENT, b"USER me\r\n"), (SERVER, GREETING)], "pop3-before-greeting"),
        ([(SERVER, GREETING), (CLIENT, b"a LOGIN me\r\n")], "pop3-command"),
        ([(SERVER, GREETING), (CLIENT, b"USER me\n")], "pop3-line-end"),
        ([(SERVER, GREETING), (CLIENT, b"USER " + b"x" * 249 + b"\r\n")], "pop3-line-long"),
    ],
)
def test_who_speaks_too_early_or_something_else_is_refused(turns: Turns, reason: str) -> None:
    assert told(turns) == Outcome(reason, {"pop3.valid": False}, False, REFUSAL)


def test_the_longest_line_passes() -> None:
    assert told([(SERVER, GREETING), (CLIENT, b"USER " + b"x" * 248 + b"\r\n")]).refused is None


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    turns = [(SERVER, GREETING), (CLIENT, b"HELLO\r\n")]
    assert told(turns, accept_invalid=True) == Outcome(None, {"pop3.valid": False}, True)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_conversation_comes_out_the_same_however_it_is_cut(greeting: bytes, command: bytes) -> None:
    told([(SERVER, b"+OK" + greeting), (CLIENT, b"USER" + command)])
    told([(SERVER, GREETING), (CLIENT, b"USER" + command)])
