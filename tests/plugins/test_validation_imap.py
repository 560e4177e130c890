"""``imap`` lets pass a server that greets and a client that waits for it, and then begins with a command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_imap import ImapOptions, build

GREETING = b"* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\n"
REFUSAL = b"* BYE protocol error\r\n"


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(build(ImapOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``imap`` keeps what every validator promises."""

    refused = (b"a LOGIN u p\r\n", b"GET / HTTP/1.1\r\n\r\n")
    passed = (
        [(SERVER, GREETING), (CLIENT, b"a LOGIN u p\r\n"), (SERVER, b"\0\n\r"), (CLIENT, b"\0\n\r")],
        [(SERVER, b"* PREAUTH hello\r\n"), (CLIENT, b"a LOGIN u p\r\n")],
    )
    ended = (
        [(CLIENT, b"a LOGIN u p\r\n")],
        [(SERVER, b"SSH-2.0-x\r\n")],
        [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n")],
        [(SERVER, GREETING), (CLIENT, b"a LOGIN u p\r\n".replace(b"\r", b""))],
    )

    def make_validator(self) -> IStreamValidator:
        return build(ImapOptions())


@pytest.mark.parametrize("greeting", [GREETING, b"* preauth hello\r\n", b"* BYE full\r\n", b"* OK\r\n"])
@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (b"a001 LOGIN {4}\r\nuser {4}\r\n", "LOGIN"),
        (b"A.1 capability\r\n", "CAPABILITY"),
        (b"x STARTTLS\r\n\x16\x03\x01", "STARTTLS"),
        (b'$ ID ("name" "x")\r\n', "ID"),
    ],
)
def test_the_first_command_is_learnt(greeting: bytes, line: bytes, verb: str) -> None:
    learnt = {"protocol": "imap", "imap.valid": True, "imap.command": verb}
    assert told([(SERVER, greeting), (CLIENT, line), (SERVER, b"+ go on\r\n")]) == Outcome(None, learnt, True)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(SERVER, b"+OK POP3\r\n")], "imap-greeting"),
        ([(SERVER, b"* OKAY\r\n")], "imap-greeting"),
        ([(SERVER, b"* NO\r\n")], "imap-greeting"),
        ([(SERVER, b"* OK" + b"x" * 20000)], "imap-greeting-line-long"),
        ([(CLIENT, b"a LOGIN u p\r\n"), (SERVER, GREETING)], "imap-before-greeting"),
        ([(SERVER, GREETING), (CLIENT, b"USER me\r\n")], "imap-command"),
        ([(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n")], "imap-command"),
        ([(SERVER, GREETING), (CLIENT, b"LOGIN\r\n")], "imap-tag"),
        ([(SERVER, GREETING), (CLIENT, b"\x16\x03\x01")], "imap-tag"),
        ([(SERVER, GREETING), (CLIENT, b"a LOGIN u p\n")], "imap-line-end"),
        ([(SERVER, GREETING), (CLIENT, b"a LOGIN " + b"x" * 9000)], "imap-line-long"),
    ],
)
def test_who_speaks_too_early_or_something_else_is_refused(turns: Turns, reason: str) -> None:
    assert told(turns) == Outcome(reason, {"imap.valid": False}, False, REFUSAL)


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    turns = [(SERVER, GREETING), (CLIENT, b"HELLO\r\n")]
    assert told(turns, accept_invalid=True) == Outcome(None, {"imap.valid": False}, True)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_conversation_comes_out_the_same_however_it_is_cut(greeting: bytes, command: bytes) -> None:
    told([(SERVER, b"* OK" + greeting), (CLIENT, b"a LOGIN" + command)])
    told([(SERVER, GREETING), (CLIENT, b"a" + command)])
