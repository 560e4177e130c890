"""A server answers with a sound ServerHello, or with an alert; anything else is noticed at once."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.interop.certificates import certificate
from tests.wire.hellos import behind, hello, in_records, pairs, python_hello, record
from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire import server_hello
from twisted_lb.wire.hello_shapes import Shapes
from twisted_lb.wire.server_hello import RETRY_RANDOM, TlsServerStart, read_server_start
from twisted_lb.wire.tls_rules import RULES

WARNING, FATAL = record(b"\x01\x70", kind=21, version=0x0303), record(b"\x02\x28", kind=21, version=0x0303)
CHOSEN_1_3 = [(43, pairs([0x0304])), (51, pairs([0x1D]) + behind(2, bytes(32)))]


def answer(
    extensions: list[tuple[int, bytes]] | bytes | None = None,
    version: int = 0x0303,
    session_id: bytes = bytes(32),
    compression: int = 0,
    kind: int = 2,
) -> bytes:
    """A ServerHello as a message."""
    body = pairs([version]) + bytes(range(32)) + behind(1, session_id) + pairs([0x1301]) + bytes((compression,))
    if isinstance(extensions, bytes):
        body += extensions
    elif extensions is not None:
        body += behind(2, b"".join(pairs([one]) + behind(2, content) for one, content in extensions))
    return bytes((kind,)) + behind(3, body)


def python_answer(folder: Path, maximum: ssl.TLSVersion) -> bytes:
    """What Python's ssl module answers to its own hello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("www.example.org", folder / "server.pem"))
    context.maximum_version = maximum
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    received.write(python_hello())
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_side=True).do_handshake()
    return sent.read()


SOUND = {
    "1.3": record(answer(CHOSEN_1_3)),
    "1.2": record(answer([(0xFF01, b"\x00")])),
    "1.2-bare": record(answer()),
    "1.2-with-certificate": record(answer([(23, b"")]) + b"\x0b" + behind(3, bytes(200))),
    "1.0": record(answer(version=0x0301, session_id=b"")),
    "warned": WARNING + WARNING + record(answer(CHOSEN_1_3)),
    "warned-four-times": WARNING * 4 + record(answer(CHOSEN_1_3)),
    "in-records": in_records(answer(CHOSEN_1_3), 1, 2, 3, 50),
    "fatal": FATAL,
    "warned-and-fatal": WARNING + FATAL,
}
BROKEN = {
    "http": ("tls-server-no-tls", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "ssh": ("tls-server-no-tls", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "smtp": ("tls-server-no-tls", b"220 mail.example ESMTP\r\n"),
    "data": ("tls-server-no-tls", record(bytes(40), kind=23)),
    "change-cipher-spec": ("tls-server-no-tls", record(b"\x01", kind=20)),
    "other-major": ("tls-server-no-tls", record(answer(), version=0x0203)),
    "alert-other-major": ("tls-server-no-tls", b"\x15\x02\x03\x00\x02\x02\x28"),
    "text-behind-a-warning": ("tls-server-no-tls", WARNING + b"HTTP/1.1 200 OK\r\n"),
    "record-empty": ("tls-server-record", record(b"")),
    "record-long": ("tls-server-record", b"\x16\x03\x03\x40\x01" + answer()),
    "data-between": ("tls-server-record", record(answer()[:20]) + record(b"x", kind=23)),
    "alert-long": ("tls-server-alert", record(b"\x02\x28\x00", kind=21)),
    "alert-short": ("tls-server-alert", record(b"\x02", kind=21)),
    "alert-level": ("tls-server-alert", record(b"\x03\x28", kind=21)),
    "five-warnings": ("tls-server-alert", WARNING * 5 + record(answer(CHOSEN_1_3))),
    "client-hello": ("tls-server-hello", hello()),
    "hello-request": ("tls-server-hello", record(b"\x00\x00\x00\x00")),
    "certificate": ("tls-server-hello", record(b"\x0b" + behind(3, bytes(20)))),
    "empty": ("tls-server-hello", record(b"\x02\x00\x00\x00")),
    "16-mib": ("tls-server-hello", record(b"\x02\xff\xff\xff")),
    "session-id-33": ("tls-server-hello", record(answer(session_id=bytes(33)))),
    "session-id-beyond": ("tls-server-hello", record(b"\x02" + behind(3, b"\x03\x03" + bytes(32) + b"\x20"))),
    "compressed": ("tls-server-hello", record(answer(compression=1))),
    "extensions-cut": ("tls-server-hello", record(answer(b"\x00"))),
    "extensions-short": ("tls-server-hello", record(answer(b"\x00\x00\x00"))),
    "extensions-beyond": ("tls-server-hello", record(answer(b"\x00\x09\x00"))),
    "extension-beyond": ("tls-server-hello", record(answer(behind(2, pairs([43, 9]))))),
    "extension-twice": ("tls-server-hello", record(answer([(23, b""), (23, b"")]))),
    "sslv3": ("tls-server-version", record(answer(version=0x0300))),
    "dtls": ("tls-server-version", record(answer(version=0xFEFD))),
    "1.3-in-the-old-place": ("tls-server-version", record(answer(version=0x0304))),
    "1.3-draft": ("tls-server-version", record(answer([(43, pairs([0x7F1C]))]))),
    "1.3-list": ("tls-server-version", record(answer([(43, behind(1, pairs([0x0304])))]))),
    "1.3-behind-1.1": ("tls-server-version", record(answer(CHOSEN_1_3, version=0x0302))),
}


def outcome(data: bytes) -> NeedMore | str | None:
    try:
        return read_server_start(data)
    except WireError as error:
        return error.reason


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_a_sound_answer_is_the_same_cut_at_every_byte(data: bytes) -> None:
    assert outcome(data) is None
    assert outcome(data + b"anything") is None
    start = TlsServerStart()
    assert [start.feed(data[at : at + 1]) for at in range(len(data))].index(True) <= len(data) - 1
    for cut in range(1, len(data)):
        start = TlsServerStart()
        assert start.feed(data[:cut]) or start.feed(data[cut:])


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_a_server_that_was_met_is_judged_as_if_it_was_not(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome_anew(data: bytes) -> NeedMore | str | None:
        with monkeypatch.context() as patch:
            patch.setattr(server_hello, "_shapes", Shapes())
            return outcome(data)

    for _ in range(2):
        assert outcome(data) is None
    for place in range(len(data)):
        assert outcome(data[:place]) == outcome_anew(data[:place])
        for byte in (0, 1, 0xFF, data[place] ^ 1):
            changed = data[:place] + bytes((byte,)) + data[place + 1 :]
            assert outcome(changed) == outcome_anew(changed)
            assert outcome(changed) == outcome_anew(changed)  # as far as it is remembered, too


def test_a_server_that_was_met_may_still_choose_too_low_a_version_for_somebody_else() -> None:
    data = record(answer())
    for _ in range(3):
        assert TlsServerStart(0x0303).feed(data)
    with pytest.raises(WireError, match="tls-server-version"):
        TlsServerStart(0x0304).feed(data)


def test_a_retry_of_the_same_shape_is_not_the_last_word() -> None:
    last = record(answer(CHOSEN_1_3))
    retry = last[:11] + RETRY_RANDOM + last[43:]
    for data in (last, last, retry, last, retry):
        start = TlsServerStart()
        assert start.feed(data)
        assert start.is_last == (data is last)


@pytest.mark.parametrize(("reason", "data"), BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_noticed_however_it_is_cut(reason: str, data: bytes) -> None:
    assert outcome(data) == reason
    for size in (1, 2, 7):
        start = TlsServerStart()
        with pytest.raises(WireError, match=reason):  # noqa: PT012  at one of the pieces
            for at in range(0, len(data), size):
                assert not start.feed(data[at : at + size])


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_what_pythons_own_server_answers_is_sound(maximum: ssl.TLSVersion, tmp_path: Path) -> None:
    data = python_answer(tmp_path, maximum)
    assert outcome(data) is None
    assert isinstance(outcome(data[:60]), NeedMore)


@pytest.mark.parametrize(("data", "version"), [(SOUND["1.3"], 0x0304), (SOUND["1.2"], 0x0303), (SOUND["1.0"], 0x0301)])
def test_a_server_may_not_go_below_the_lowest_version_that_is_allowed(data: bytes, version: int) -> None:
    assert read_server_start(data, version) is None
    with pytest.raises(WireError, match="tls-server-version"):
        read_server_start(data, version + 1)


def test_what_is_wrong_with_plain_text_is_known_by_its_first_byte() -> None:
    with pytest.raises(WireError, match="tls-server-no-tls"):
        TlsServerStart().feed(b"H")


def test_the_place_of_what_is_wrong_is_named() -> None:
    for data, offset in ((record(answer(version=0x0300)), 9), (WARNING + record(answer(compression=1)), 7 + 5 + 38)):
        with pytest.raises(WireError) as caught:
            read_server_start(data)
        assert caught.value.offset == offset


@given(
    st.binary(max_size=120),
    st.sampled_from([b"", b"\x16\x03\x03\x00\x60\x02\x00\x00\x5c\x03\x03" + bytes(32), WARNING]),
)
def test_whatever_the_bytes_nothing_but_an_answer_need_more_or_a_rule_comes_out(data: bytes, start: bytes) -> None:
    found = outcome(start + data)
    assert found is None or isinstance(found, NeedMore) or found in RULES
    if isinstance(found, NeedMore):
        assert found.at_least > len(start + data)
