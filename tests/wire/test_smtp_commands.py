"""Commands of SMTP are told apart from messages, as RFC 5321 has them, whatever else may be in them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.wire.smtp_commands import MAX_COMMAND_BYTES, MessageEnd, SmtpDialogue

CLIENT, SERVER = "client", "server"
BANNER = (SERVER, b"220 mail.test ESMTP\r\n")
EHLO = (CLIENT, b"EHLO client.test\r\n")
OFFERS = (SERVER, b"250-mail.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n")


def read(turns: list[tuple[str, bytes]], dialogue: SmtpDialogue | None = None) -> list[str]:
    made = dialogue or SmtpDialogue()
    verbs: list[str] = []
    for who, said in turns:
        if who == CLIENT:
            verbs.extend(made.client_said(said))
        else:
            made.server_said(said)
    return verbs


def bytewise(turns: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(who, said[at : at + 1]) for who, said in turns for at in range(len(said))]


def refusal(turns: list[tuple[str, bytes]]) -> str:
    reasons = set()
    for pieces in (turns, bytewise(turns)):
        with pytest.raises(WireError) as caught:
            read(pieces)
        reasons.add(caught.value.reason)
    (reason,) = reasons
    return reason


@pytest.mark.parametrize(
    ("turns", "verbs"),
    [
        ([BANNER, EHLO, OFFERS, (CLIENT, b"NOOP\r\nrset\r\nquit\r\n")], ["EHLO", "NOOP", "RSET", "QUIT"]),
        (
            # RFC 5321, appendix D.1, but for the pipelining of RFC 2920, section 4.
            [
                BANNER,
                EHLO,
                OFFERS,
                (CLIENT, b"MAIL FROM:<Smith@bar.com>\r\nRCPT TO:<Jones@foo.com>\r\nDATA\r\n"),
                (SERVER, b"250 OK\r\n250 OK\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
                (CLIENT, b"Blah blah\r\nVRFY x\r\n..\r\n.\r\nQUIT\r\n"),
                (SERVER, b"250 OK\r\n221 bye\r\n"),
            ],
            ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"],
        ),
        ([BANNER, (CLIENT, b"DATA\r\n"), (SERVER, b"354 go\r\n"), (CLIENT, b".\r\nVRFY x\r\n")], ["DATA", "VRFY"]),
        ([BANNER, (CLIENT, b"DATA\r\n"), (SERVER, b"503 no\r\n"), (CLIENT, b"VRFY x\r\n")], ["DATA", "VRFY"]),
        (
            # RFC 3030, section 4.2.
            [
                BANNER,
                EHLO,
                OFFERS,
                (CLIENT, b"BDAT 10\r\nVRFY x\r\n\r\nBDAT 0 last\r\nVRFY y\r\n"),
                (SERVER, b"250 ok\r\n250 ok\r\n252 ok\r\n"),
            ],
            ["EHLO", "BDAT", "BDAT", "VRFY"],
        ),
        (
            # RFC 4954, section 4.
            [
                BANNER,
                (CLIENT, b"AUTH LOGIN\r\n"),
                (SERVER, b"334 VXNlcm5hbWU6\r\n"),
                (CLIENT, b"VRFY\r\n"),
                (SERVER, b"334 UGFzc3dvcmQ6\r\n"),
                (CLIENT, b"cGFzc3dvcmQ=\r\n"),
                (SERVER, b"535 no\r\n"),
                (CLIENT, b"VRFY x\r\n"),
            ],
            ["AUTH", "VRFY"],
        ),
        ([BANNER, (CLIENT, b"STARTTLS\r\n"), (SERVER, b"454 no\r\n"), (CLIENT, b"NOOP\r\n")], ["STARTTLS", "NOOP"]),
        ([(CLIENT, b"NOOP\r\n"), BANNER], ["NOOP"]),
        ([BANNER, (SERVER, b"421 closing\r\n")], []),
        ([(SERVER, b"220-a\n220\n"), (CLIENT, b"NOOP\r\n")], ["NOOP"]),
    ],
)
def test_commands_are_told_however_they_are_cut(turns: list[tuple[str, bytes]], verbs: list[str]) -> None:
    assert read(turns) == verbs
    assert read(bytewise(turns)) == verbs
    for index, (who, said) in enumerate(turns):
        for at in range(1, len(said)):
            assert read([*turns[:index], (who, said[:at]), (who, said[at:]), *turns[index + 1 :]]) == verbs


def test_what_the_server_encrypts_is_no_longer_for_us() -> None:
    dialogue = SmtpDialogue()
    read([BANNER, (CLIENT, b"STARTTLS\r\n")], dialogue)
    assert not dialogue.encrypted
    dialogue.server_said(b"220 go\r\n")
    assert dialogue.encrypted
    with pytest.raises(WireError, match="smtp-early"):
        list(dialogue.client_said(b"\x16"))


DATA = [BANNER, (CLIENT, b"DATA\r\n"), (SERVER, b"354 go\r\n")]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([BANNER, (CLIENT, b"DATA\r\nVRFY x\r\n")], "smtp-early"),
        ([BANNER, (CLIENT, b"EHLO a\r\nVRFY x\r\n")], "smtp-early"),
        ([BANNER, (CLIENT, b"AUTH LOGIN\r\nVRFY x\r\n")], "smtp-early"),
        ([BANNER, (CLIENT, b"STARTTLS\r\nVRFY x\r\n")], "smtp-early"),
        ([BANNER, (CLIENT, b"VRFY x\n")], "smtp-line-end"),
        ([BANNER, (CLIENT, b"NOOP\rVRFY x\r\n")], "smtp-line-end"),
        ([BANNER, (CLIENT, b"NO\0OP\r\n")], "smtp-line-nul"),
        ([BANNER, (CLIENT, b" VRFY x\r\n")], "smtp-command"),
        ([BANNER, (CLIENT, b"VRFY\vx\r\n")], "smtp-command"),
        ([BANNER, (CLIENT, b"\r\n")], "smtp-command"),
        ([BANNER, (CLIENT, b"\x16\x03\x01\r\n")], "smtp-command"),
        ([BANNER, (CLIENT, b"NOOP " + b"x" * MAX_COMMAND_BYTES)], "smtp-line-long"),
        ([BANNER, (CLIENT, b"BDAT 8\r\nVRFY x\r\n")], "smtp-chunking"),
        ([BANNER, EHLO, (SERVER, b"250-CHUNKING\r\n250 x\r\n"), (CLIENT, b"BDAT 8\r\nVRFY x\r\n")], "ok"),
        ([BANNER, EHLO, (SERVER, b"550 CHUNKING\r\n"), (CLIENT, b"BDAT 8\r\n")], "smtp-chunking"),
        ([BANNER, EHLO, OFFERS, EHLO, (SERVER, b"250 x\r\n"), (CLIENT, b"BDAT 8\r\n")], "smtp-chunking"),
        ([BANNER, EHLO, OFFERS, (CLIENT, b"BDAT x\r\n")], "smtp-chunk"),
        ([BANNER, EHLO, OFFERS, (CLIENT, b"BDAT 8 LASTING\r\n")], "smtp-chunk"),
        ([BANNER, EHLO, OFFERS, (CLIENT, b"BDAT -1\r\n")], "smtp-chunk"),
        ([(SERVER, b"SSH-2.0-x\r\n")], "smtp-reply"),
        ([(SERVER, b"220-a\r\n221 b\r\n")], "smtp-reply"),
        ([(SERVER, b"220x\r\n")], "smtp-reply"),
        ([(SERVER, b"220 " + b"x" * 5000)], "smtp-reply-line-long"),
        ([BANNER, (SERVER, b"250 ok\r\n")], "smtp-reply-unasked"),
        ([BANNER, (CLIENT, b"NOOP\r\n"), (SERVER, b"354 go\r\n")], "smtp-reply-unasked"),
        ([BANNER, (CLIENT, b"NOOP\r\nDATA\r\n"), (SERVER, b"354 go\r\n")], "smtp-reply-unasked"),
        ([BANNER, (CLIENT, b"NOOP\r\n"), (SERVER, b"334 go\r\n")], "smtp-reply-unasked"),
        ([BANNER, (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go\r\n250 x\r\n")], "smtp-reply-unasked"),
        ([*DATA, (CLIENT, b"x\n.\nVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\r\n.\nVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\n.\r\nVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\r.\r\nVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\r.\rVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\r\n.\r\r\nVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b"x\r\n.\rVRFY x\r\n")], "smtp-message-end"),
        ([*DATA, (CLIENT, b".\nVRFY x\r\n")], "smtp-message-end"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(turns: list[tuple[str, bytes]], reason: str) -> None:
    if reason == "ok":
        assert read(turns) == read(bytewise(turns)) == ["EHLO", "BDAT"]
    else:
        assert refusal(turns) == reason


PIECES = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x", b"..", b"\r\n.\r\n"]), max_size=12).map(b"".join)


@given(PIECES, st.lists(st.integers(0, 40), max_size=4))
def test_a_message_ends_where_all_programs_say_it_ends(text: bytes, places: list[int]) -> None:
    strict = (b"\r\n" + text).find(b"\r\n.\r\n")
    lenient = [
        at
        for at in range(len(text))
        if text[at : at + 1] == b"."
        and (at == 0 or text[at - 1] in b"\r\n")
        and text[at + 1 : at + 2] in (b"\r", b"\n")
        # A CR may be half of a CR LF, unless it is no end of a message anyhow.
        and (text[at + 1 : at + 2] == b"\n" or len(text) > at + 2 or (b"\r\n" + text)[at : at + 2] != b"\r\n")
    ]
    expected: int | str | None = None
    if lenient:
        expected = strict + 3 if strict == lenient[0] else "refused"
    bounds = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    for cut in ([text], [text[a:b] for a, b in itertools.pairwise(bounds)], [bytes([byte]) for byte in text]):
        message, before, found = MessageEnd(), 0, None
        try:
            for piece in cut:
                end = message.feed(b"##" + piece, 2)
                if end is not None:
                    found = before + end - 2
                    break
                before += len(piece)
        except WireError:
            assert expected == "refused"
        else:
            assert found == expected


def test_a_long_message_of_dots_takes_linear_time() -> None:
    message = MessageEnd()
    block = b"\r\n.." * 16384
    for _ in range(256):
        assert message.feed(block, 0) is None


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), st.binary(min_size=1, max_size=12)), max_size=6))
def test_any_bytes_give_commands_or_a_wire_error(turns: list[tuple[str, bytes]]) -> None:
    for pieces in (turns, bytewise(turns)):
        try:
            read([BANNER, EHLO, OFFERS, *pieces])
        except WireError as error:
            assert error.reason.startswith("smtp-")  # noqa: PT017
