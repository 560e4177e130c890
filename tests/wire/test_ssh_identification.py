"""An SSH identification is read exactly, and nothing of either side grows without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.ssh_identification import (
    MAX_SERVER_BYTES,
    Identification,
    SshServerIdentification,
    read_ssh_client,
)

PIECES = st.lists(
    st.sampled_from(
        [b"SSH-2.0-x", b"SSH-", b"2.0-", b"1.99-", b" ", b"\r\n", b"\n", b"\r", b"\0", b"a", b"\xff", b"y" * 99]
    )
)


@pytest.mark.parametrize(
    ("line", "version", "software"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n", "2.0", "OpenSSH_9.2p1"),
        (b"SSH-2.0-Go\r\n", "2.0", "Go"),
        (b"SSH-2.0-libssh2_1.10.0\r\n", "2.0", "libssh2_1.10.0"),
        (b"SSH-2.0-JSCH-0.1.54\n", "2.0", "JSCH-0.1.54"),
        (b"SSH-1.99-old \r\n", "1.99", "old"),
        (b"SSH-2.0-x gr\xc3\xbcn - \r\n\0\0\1", "2.0", "x"),
        (b"SSH-2.0-" + b"x" * 245 + b"\r\n", "2.0", "x" * 245),
    ],
)
def test_what_clients_say_is_read(line: bytes, version: str, software: str) -> None:
    assert read_ssh_client(line) == Identification(version, software)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "ssh-identification"),
        (b"\r\nSSH-2.0-x\r\n", "ssh-identification"),
        (b"ssh-2.0-x\r\n", "ssh-identification"),
        (b"SSH-2.0-\r\n", "ssh-identification"),
        (b"SSH-2.0- x\r\n", "ssh-identification"),
        (b"SSH-2.0\r\n", "ssh-identification"),
        (b"SSH-x-y\r\n", "ssh-identification"),
        (b"SSH-2.0-x\ty\r\n", "ssh-identification"),
        (b"SSH-2.0-\xff\r\n", "ssh-identification"),
        (b"SSH-2.0-x y\x07\r\n", "ssh-identification"),
        (b"SSH-1.5-x\r\n", "ssh-version"),
        (b"SSH-2.1-x\r\n", "ssh-version"),
        (b"SSH-2.0-x\ry\r\n", "ssh-line-end"),
        (b"SSH-2.0-x\0\r\n", "ssh-line-nul"),
        (b"SSH-2.0-" + b"x" * 246 + b"\r\n", "ssh-line-long"),
        (b"SSH-2.0-" + b"x" * 247, "ssh-line-long"),
    ],
)
def test_what_no_client_says_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=f"^{reason} "):
        read_ssh_client(line)


def test_a_wrong_beginning_is_refused_at_its_first_byte() -> None:
    assert isinstance(read_ssh_client(b"SS"), NeedMore)
    with pytest.raises(WireError, match="ssh-identification"):
        read_ssh_client(b"SST")


def test_without_a_carriage_return_a_line_may_not_be_longer() -> None:
    assert read_ssh_client(b"SSH-2.0-" + b"x" * 245 + b"\n") == Identification("2.0", "x" * 245)
    with pytest.raises(WireError, match="ssh-identification"):
        read_ssh_client(b"SSH-2.0-" + b"x" * 246 + b"\n")


def server_said(pieces: list[bytes]) -> object:
    """What comes of it: the identification, ``None``, or the reason of the refusal."""
    server = SshServerIdentification()
    try:
        return next((found for piece in pieces if (found := server.feed(piece)) is not None), None)
    except WireError as error:
        return error.reason


def test_a_server_may_say_other_lines_before_its_identification() -> None:
    assert server_said([b"Welcome\r\nbe nice\nSSH-2.0-OpenSSH_9.2p1\r\nrest"]) == Identification("2.0", "OpenSSH_9.2p1")
    assert server_said([b"SSH-1.99-two\n"]) == Identification("1.99", "two")
    assert server_said([b"Welcome\r\n"]) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-1.5-x\r\n", "ssh-server-version"),
        (b"SSH-two\r\n", "ssh-server-identification"),
        (b"a\0b\r\n", "ssh-server-line-nul"),
        (b"x" * MAX_SERVER_BYTES, "ssh-server-line-long"),
        (b"220 mail\r\n" * 820, "ssh-server-long"),
    ],
)
def test_a_server_that_speaks_something_else_is_refused(said: bytes, reason: str) -> None:
    assert server_said([said]) == reason
    assert server_said([said[at : at + 1] for at in range(len(said))]) == reason


@given(PIECES, st.integers(0, 400))
def test_any_bytes_of_a_client_get_the_same_answer_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)

    def told(*ends: int) -> object:
        for end in ends:
            try:
                found = read_ssh_client(data[:end])
            except WireError as error:
                return error.reason
            if isinstance(found, Identification):
                return found
        return None

    assert told(*range(1, len(data) + 1)) == told(min(cut, len(data)), len(data)) == told(len(data))


@given(PIECES, st.integers(0, 400))
def test_any_bytes_of_a_server_get_the_same_answer_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    whole = server_said([data])
    assert server_said([data[:cut], data[cut:]]) == whole
    assert server_said([data[at : at + 1] for at in range(len(data))]) == whole
