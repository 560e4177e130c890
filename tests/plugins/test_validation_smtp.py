"""``smtp`` lets pass a server that greets and a client that waits for it, and then begins with a command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_smtp import SmtpOptions, build

GREETING = b"220 mail.example.org ESMTP Postfix\r\n"
EHLO = b"EHLO client.example.org\r\n"
REFUSAL = b"554 5.5.1 Protocol error\r\n"


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(build(SmtpOptions(**options)), turns)


def after_greeting(command: bytes, **options: Any) -> Outcome:
    return told([(SERVER, GREETING), (CLIENT, command)], **options)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``smtp`` keeps what every validator promises."""

    refused = (EHLO, b"GET / HTTP/1.1\r\n\r\n")
    passed = (
        [(SERVER, GREETING), (CLIENT, EHLO), (SERVER, b"\0\n\r"), (CLIENT, b"\0\n\r")],
        [(SERVER, b"220-wait\r\n220 ready\r\n"), (CLIENT, EHLO)],
    )
    ended = (
        [(CLIENT, EHLO)],
        [(SERVER, b"SSH-2.0-x\r\n")],
        [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n")],
        [(SERVER, GREETING), (CLIENT, EHLO.replace(b"\r", b""))],
    )

    def make_validator(self) -> IStreamValidator:
        return build(SmtpOptions())


@pytest.mark.parametrize(
    ("line", "verb", "name"),
    [
        (EHLO, "EHLO", "client.example.org"),
        (b"helo [192.0.2.1]\r\n", "HELO", "[192.0.2.1]"),
        (b"LHLO x \r\n", "LHLO", "x"),
        (b"EHLO gr\xc3\xbcn.example\r\n", "EHLO", "grün.example"),
        (b"QUIT\r\n", "QUIT", None),
        (b"noop  anything at all\r\n", "NOOP", None),
        (b"STARTTLS\r\n\x16\x03\x01\0\n", "STARTTLS", None),
    ],
)
def test_the_first_command_is_learnt(line: bytes, verb: str, name: str | None) -> None:
    learnt = {"protocol": "smtp", "smtp.valid": True, "smtp.command": verb}
    if name is not None:
        learnt["smtp.helo"] = name
    turns = [(SERVER, GREETING), (CLIENT, line), (SERVER, b"250 x\r\n"), (CLIENT, b"\0anything")]
    assert told(turns) == Outcome(None, learnt, True)


@pytest.mark.parametrize(
    "greeting", [GREETING, b"220\r\n", b"220-wait\r\n220-\r\n220 ready\r\n", b"554 no\r\n", b"421 later\r\n"]
)
def test_a_greeting_may_have_several_lines_and_may_be_a_refusal(greeting: bytes) -> None:
    assert told([(SERVER, greeting), (CLIENT, EHLO)]).refused is None


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "smtp-greeting"),
        (b"250 mail\r\n", "smtp-greeting"),
        (b"2200 mail\r\n", "smtp-greeting"),
        (b"220-wait\r\n554 no\r\n", "smtp-greeting"),
        (b"220-wait\r\nready\r\n", "smtp-greeting"),
        (b"220 a\rb\r\n", "smtp-greeting-line-end"),
        (b"220-wait\r\n" * 2000, "smtp-greeting-long"),
    ],
)
def test_a_server_that_speaks_something_else_is_refused(greeting: bytes, reason: str) -> None:
    assert told([(SERVER, greeting)]) == Outcome(reason, {"smtp.valid": False}, False, REFUSAL)


@pytest.mark.parametrize(
    "turns",
    [
        [(CLIENT, EHLO), (SERVER, GREETING)],
        [(SERVER, b"220-wait\r\n"), (CLIENT, EHLO), (SERVER, b"220 ready\r\n")],
        [(SERVER, b"220 almost\r"), (CLIENT, EHLO), (SERVER, b"\n")],
    ],
)
def test_who_does_not_wait_for_the_greeting_is_refused(turns: Turns) -> None:
    assert told(turns) == Outcome("smtp-before-greeting", {"smtp.valid": False}, False, REFUSAL)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "smtp-command"),
        (b"\r\n", "smtp-command"),
        (b"\x16\x03\x01", "smtp-command"),
        (b"EHLO\r\n", "smtp-helo"),
        (b"EHLO two words\r\n", "smtp-helo"),
        (b"HELO a\tb\r\n", "smtp-helo"),
        (b"HELO " + b"a" * 256 + b"\r\n", "smtp-helo"),
        (b"EHLO x\n", "smtp-line-end"),
        (b"EHLO x\0\r\n", "smtp-line-nul"),
        (b"NOOP " + b"x" * 506 + b"\r\n", "smtp-line-long"),
    ],
)
def test_what_is_no_command_is_refused(line: bytes, reason: str) -> None:
    assert after_greeting(line) == Outcome(reason, {"smtp.valid": False}, False, REFUSAL)


def test_lines_may_be_longer_if_it_is_said() -> None:
    line = b"NOOP " + b"x" * 505 + b"\r\n"
    assert after_greeting(line).refused is None
    assert after_greeting(line, max_line_bytes=511).refused == "smtp-line-long"
    assert after_greeting(b"x" + line, max_line_bytes=600).refused == "smtp-command"


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    assert after_greeting(b"GET / HTTP/1.1\r\n", accept_invalid=True).learnt == {"smtp.valid": False}
    assert told([(CLIENT, EHLO), (SERVER, GREETING)], accept_invalid=True).learnt["smtp.valid"] is False


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), st.binary(min_size=1, max_size=12)), max_size=4))
def test_any_conversation_comes_out_the_same_however_it_is_cut(turns: Turns) -> None:
    told([(SERVER, b"220 "), *turns])
    told([(SERVER, GREETING), (CLIENT, b"EHLO "), *turns])
