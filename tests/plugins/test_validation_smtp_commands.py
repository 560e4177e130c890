"""``smtp_commands`` lets no command pass that it must not, wherever it is hidden and however it is cut."""

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import ConfigError, Deny, IStreamValidator
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb_plugins.validation_smtp_commands import SmtpCommandsOptions, SmtpCommandsValidator

DENY = ("VRFY", "expn")
BANNER: tuple[Literal["server"], bytes] = (SERVER, b"220 mail.test ESMTP\r\n")
EHLO: tuple[Literal["client"], bytes] = (CLIENT, b"EHLO client.test\r\n")
OFFERS: tuple[Literal["server"], bytes] = (SERVER, b"250-mail.test\r\n250-CHUNKING\r\n250 STARTTLS\r\n")
HELLO = b"\x16\x03\x01\x00\x05hello"


def make(**options: Any) -> SmtpCommandsValidator:
    return SmtpCommandsValidator(SmtpCommandsOptions(**options))


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(make(**(options or {"deny": DENY})), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``smtp_commands`` keeps what every validator promises."""

    accepted = (b"NOOP\r\n", b"MAIL FROM:<>\r\n")
    refused = (b"VRFY x\r\n", b"NOOP\n", b"\x16\x03\x01\r\n")
    passed = (
        [BANNER, EHLO, OFFERS, (CLIENT, b"NOOP VRFY\r\nDATA\r\n"), (SERVER, b"250 ok\r\n354 go\r\n")],
        [BANNER, EHLO, OFFERS, (CLIENT, b"BDAT 8 LAST\r\nVRFY x\r\nRSET\r\n"), (SERVER, b"250 ok\r\n250 ok\r\n")],
        [BANNER, (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go\r\n"), (CLIENT, HELLO), (SERVER, HELLO)],
    )
    ended = (
        [BANNER, (CLIENT, b"NOOP\r\nvrfy\r\n")],
        [BANNER, EHLO, OFFERS, (CLIENT, b"BDAT 6\r\nVRFY\r\nVRFY x\r\n")],
        [BANNER, (CLIENT, b"DATA\r\n"), (SERVER, b"354 go\r\n"), (CLIENT, b"x\r\n.\r\nVRFY x\r\n")],
        [BANNER, (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go\r\n"), (CLIENT, b"VRFY x\r\n")],
        [(SERVER, b"SSH-2.0-x\r\n")],
    )

    def make_validator(self) -> IStreamValidator:
        return make(deny=DENY)


def test_the_server_speaks_first() -> None:
    assert IStreamValidator.providedBy(make(deny=DENY))
    assert make(deny=DENY).server_first
    assert make(deny=DENY).speaks == "smtp"


@pytest.mark.parametrize(
    "said",
    [
        [(CLIENT, b"VRFY root\r\n")],
        [(CLIENT, b"NOOP\r\nMAIL FROM:<>\r\nvrfy\r\n")],
        [(CLIENT, b"DATA\r\n"), (SERVER, b"503 no\r\n"), (CLIENT, b"VRFY x\r\n")],
        [(CLIENT, b"DATA\r\n"), (SERVER, b"354 go\r\n"), (CLIENT, b"VRFY\r\n.\r\nVRFY x\r\n")],
        [(CLIENT, b"BDAT 6\r\nVRFY\r\nVRFY x\r\n")],
        [
            (CLIENT, b"AUTH PLAIN\r\n"),
            (SERVER, b"334 \r\n"),
            (CLIENT, b"VRFY\r\n"),
            (SERVER, b"535 no\r\n"),
            (CLIENT, b"VRFY x\r\n"),
        ],
        [(CLIENT, b"STARTTLS\r\n"), (SERVER, b"454 no\r\n"), (CLIENT, b"VRFY x\r\n")],
    ],
)
def test_a_denied_command_is_refused_wherever_it_stands(said: list[tuple[str, bytes]]) -> None:
    refused = told([BANNER, EHLO, OFFERS, *said])
    assert refused.refused == "smtp-command-denied VRFY"
    assert refused.farewell == b"554 5.7.1 VRFY not allowed\r\n"


def test_what_only_looks_like_a_denied_command_passes() -> None:
    turns = [
        BANNER,
        EHLO,
        OFFERS,
        (CLIENT, b"NOOP VRFY\r\nDATA\r\n"),
        (SERVER, b"250 ok\r\n354 go\r\n"),
        (CLIENT, b"VRFY x\r\n.\r\nBDAT 8 LAST\r\nVRFY x\r\nRSET\r\n"),
    ]
    assert told(turns) == Outcome(None, {"protocol": "smtp"}, False)


def test_a_list_of_what_is_allowed_denies_all_else() -> None:
    allow = ("EHLO", "noop")
    assert told([BANNER, EHLO, OFFERS, (CLIENT, b"NOOP\r\n")], allow=allow).refused is None
    assert told([BANNER, (CLIENT, b"HELO x\r\n")], allow=allow).refused == "smtp-command-denied HELO"
    assert told([BANNER, (CLIENT, b"NOOP\r\n")], deny=("NOOP",)).refused == "smtp-command-denied NOOP"


def test_a_command_before_the_greeting_is_judged_too() -> None:
    assert make(deny=DENY).validate(b"NOOP\r\nVRFY x\r\n", make_facts()) == Deny(
        "smtp-command-denied VRFY", farewell=b"554 5.7.1 VRFY not allowed\r\n"
    )
    assert told([(CLIENT, b"NOOP\r\n"), BANNER, (CLIENT, b"VRFY x\r\n")]).refused == "smtp-command-denied VRFY"


STARTTLS = [BANNER, (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go\r\n")]


def test_behind_starttls_the_watch_ends_with_the_first_bytes_of_tls() -> None:
    turns = [*STARTTLS, (CLIENT, HELLO), (SERVER, HELLO)]
    assert told(turns) == Outcome(None, {"protocol": "smtp"}, True)
    assert told([*STARTTLS, (CLIENT, b"VRFY x\r\n")]).refused == "smtp-no-tls"
    assert told([*STARTTLS[:2], (CLIENT, HELLO)]).refused == "smtp-early"


def test_starttls_can_be_refused_once_the_server_agrees() -> None:
    refused = told(STARTTLS, deny=DENY, after_starttls="refuse")
    assert (refused.refused, refused.farewell) == ("smtp-starttls", b"454 4.7.0 TLS not available\r\n")
    turns = [*STARTTLS[:2], (SERVER, b"454 no\r\n"), (CLIENT, b"NOOP\r\n")]
    assert told(turns, after_starttls="refuse").refused is None


def test_commands_may_be_as_long_as_the_server_reads_them() -> None:
    said = [BANNER, (CLIENT, b"NOOP " + b"x" * 193 + b"\r\n")]
    assert told(said, deny=DENY, max_line_bytes=200).refused is None
    assert told(said, deny=DENY, max_line_bytes=199).refused == "smtp-line-long"


def test_what_cannot_be_told_apart_is_refused() -> None:
    refused = told([BANNER, (CLIENT, b"NOOP\n")])
    assert (refused.refused, refused.farewell) == ("smtp-line-end", b"554 5.5.2 protocol error: smtp-line-end\r\n")
    refused = told([(SERVER, b"SSH-2.0-x\r\n")])
    assert (refused.refused, refused.farewell) == ("smtp-reply", b"421 4.3.0 service not available\r\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, 'it needs "deny", "allow" or after_starttls = "refuse"'),
        ({"deny": ("MAIL FROM",)}, 'deny: "MAIL FROM" is no command such as "VRFY"'),
        ({"allow": ("",)}, 'allow: "" is no command'),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


class Interpreter:
    """A mail server that reads what has reached it, a byte at a time, as RFC 5321 says. ``ran``: verbs.

    ``data``, ``chunks``: whether it takes messages that come with DATA, or with BDAT.
    """

    def __init__(self, data: bool, chunks: bool) -> None:
        self.ran: list[bytes] = []
        self._data, self._chunks = data, chunks
        self._line, self._left, self._message = b"", 0, False

    def feed(self, said: bytes) -> bytes:
        """Take bytes; returns the replies to the lines that end in them."""
        return b"".join(self._byte(bytes([byte])) for byte in said)

    def _byte(self, byte: bytes) -> bytes:
        if self._left:
            self._left -= 1
            return b"" if self._left else b"250 chunk\r\n"
        self._line += byte
        if not self._line.endswith(b"\r\n"):
            return b""
        line, self._line = self._line[:-2], b""
        if self._message:
            self._message = line != b"."
            return b"" if self._message else b"250 message\r\n"
        return self._command(line)

    def _command(self, line: bytes) -> bytes:
        verb, _, argument = line.partition(b" ")
        self.ran.append(verb.upper())
        match verb.upper():
            case b"EHLO":
                return b"250-x\r\n250 CHUNKING\r\n" if self._chunks else b"250 x\r\n"
            case b"DATA" if self._data:
                self._message = True
                return b"354 go\r\n"
            case b"BDAT" if self._chunks:
                self._left = int(argument.split()[0])
                return b"" if self._left else b"250 chunk\r\n"
        return b"500 no\r\n"


LINES = st.sampled_from(
    [
        b"NOOP",
        b"DATA",
        b".",
        b"BDAT 0",
        b"EHLO x",
        b"BDAT 8\r\nVRFY x",
        b"BDAT 14 LAST\r\nVRFY x\r\nNOOP",
        b"DATA\r\nVRFY x\r\n.",
        b"VRFY x\r\n.",
        b"vrfy",
    ]
)


@settings(max_examples=300)
@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(st.integers(1, 30), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_no_forbidden_command_ever_runs_behind_the_guard(
    groups: list[list[bytes]], sizes: list[int], data: bool, chunks: bool
) -> None:
    server = Interpreter(data, chunks)
    watch = make(deny=("VRFY",)).watch(make_facts())
    assert not isinstance(watch.server_said(BANNER[1]), Deny)
    for group in groups:  # the server answers between any two
        said = b"".join(line + b"\r\n" for line in group)
        size = sizes.pop() if sizes else len(said)
        for at in range(0, len(said), size):
            piece = said[at : at + size]
            if isinstance(watch.client_said(piece), Deny):
                return
            replies = server.feed(piece)
            assert b"VRFY" not in server.ran
            if replies and isinstance(watch.server_said(replies), Deny):
                return
