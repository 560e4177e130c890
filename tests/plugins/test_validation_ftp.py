"""``ftp`` lets pass a server that greets and a client that waits for it, and then begins with a command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_ftp import FtpOptions, build

GREETING = b"220 (vsFTPd 3.0.3)\r\n"
REFUSAL = b"421 Protocol error\r\n"


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(build(FtpOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``ftp`` keeps what every validator promises."""

    refused = (b"USER me\r\n", b"GET / HTTP/1.1\r\n\r\n")
    passed = (
        [(SERVER, GREETING), (CLIENT, b"USER me\r\n"), (SERVER, b"\0\n\r"), (CLIENT, b"\0\n\r")],
        [(SERVER, b"120 wait\r\n220 ready\r\n"), (CLIENT, b"USER me\r\n")],
    )
    ended = (
        [(CLIENT, b"USER me\r\n")],
        [(SERVER, b"SSH-2.0-x\r\n")],
        [(SERVER, GREETING), (CLIENT, b"GET / HTTP/1.1\r\n")],
        [(SERVER, GREETING), (CLIENT, b"USER me\r\n".replace(b"\r", b""))],
    )

    def make_validator(self) -> IStreamValidator:
        return build(FtpOptions())


@pytest.mark.parametrize("line", [b"USER anonymous\r\n", b"user x\r\n", b"AUTH TLS\r\n\x16\x03", b"FEAT\r\n"])
def test_the_first_command_is_learnt(line: bytes) -> None:
    learnt = {"protocol": "ftp", "ftp.valid": True, "ftp.command": line[:4].decode().upper()}
    assert told([(SERVER, GREETING), (CLIENT, line), (SERVER, b"331 x\r\n")]) == Outcome(None, learnt, True)


@pytest.mark.parametrize(
    "greeting",
    [
        b"220\r\n",
        b"220-Welcome\r\n331 any line, \r\n220-so\r\n 220 indented\r\n\r\n220 done\r\n",
        b"120 in 5 minutes\r\n220 ready\r\n",
        b"120-in\r\n220 not yet\r\n120 5 minutes\r\n220-now\r\n220 ready\r\n",
        b"421 full\r\n",
    ],
)
def test_a_greeting_may_have_several_lines_and_may_be_a_refusal(greeting: bytes) -> None:
    assert told([(SERVER, greeting), (CLIENT, b"QUIT\r\n")]).refused is None
    short = told([(SERVER, greeting[:-2]), (CLIENT, b"QUIT\r\n")])
    assert short == Outcome("ftp-before-greeting", {"ftp.valid": False}, False, REFUSAL)


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"+OK\r\n", "ftp-greeting"),
        (b"230 in\r\n", "ftp-greeting"),
        (b"2200\r\n", "ftp-greeting"),
        (b"120 wait\r\n331 password\r\n", "ftp-greeting"),
        (b"220-Welcome\r\n" * 2000, "ftp-greeting-long"),
    ],
)
def test_a_server_that_speaks_something_else_is_refused(greeting: bytes, reason: str) -> None:
    assert told([(SERVER, greeting)]) == Outcome(reason, {"ftp.valid": False}, False, REFUSAL)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(CLIENT, b"USER x\r\n"), (SERVER, GREETING)], "ftp-before-greeting"),
        ([(SERVER, GREETING), (CLIENT, b"EHLO x\r\n")], "ftp-command"),
        ([(SERVER, GREETING), (CLIENT, b"USERS\r\n")], "ftp-command"),
        ([(SERVER, GREETING), (CLIENT, b"USER x\n")], "ftp-line-end"),
        ([(SERVER, GREETING), (CLIENT, b"USER " + b"x" * 4096)], "ftp-line-long"),
    ],
)
def test_a_client_that_speaks_too_early_or_something_else_is_refused(turns: Turns, reason: str) -> None:
    assert told(turns) == Outcome(reason, {"ftp.valid": False}, False, REFUSAL)


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    assert told([(CLIENT, b"USER x\r\n"), (SERVER, GREETING)], accept_invalid=True).learnt["ftp.valid"] is False


@given(st.lists(st.sampled_from([b"220", b"120", b"-", b" ", b"\r\n", b"x", b"\r", b"421"]), max_size=12).map(b"".join))
def test_any_greeting_comes_out_the_same_however_it_is_cut(greeting: bytes) -> None:
    told([(SERVER, b"220-x" + greeting), (CLIENT, b"QUIT\r\n")])
    told([(SERVER, b"120 x\r\n" + greeting), (CLIENT, b"QUIT\r\n")])
