"""A held body: so much in memory, the rest in a file that has no name, and never more than the bound."""

import os
from pathlib import Path

import pytest

from twisted_lb.stages.request_buffer import PIECE_BYTES, Buffering, RequestBuffer


def read(buffer: RequestBuffer) -> bytes:
    made = b""
    while not buffer.ended:
        piece = buffer.read()
        assert 0 < len(piece) <= PIECE_BYTES
        made += piece
    assert buffer.read() == b""
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_short_body_stays_in_memory() -> None:
    buffer = RequestBuffer(Buffering(memory=10, maximum=100))
    for piece in (b"12345", b"", b"67890"):
        assert buffer.write(piece)
    assert not buffer.in_file
    assert read(buffer) == b"1234567890"


def test_a_longer_one_goes_to_a_file_without_a_name(folder: Path) -> None:
    buffer = RequestBuffer(Buffering(memory=10, maximum=1 << 20))
    body = os.urandom(300_000)
    for at in range(0, len(body), 7000):
        assert buffer.write(body[at : at + 7000])
    assert buffer.in_file
    assert buffer.size == len(body)
    assert list(folder.iterdir()) == []
    assert read(buffer) == body
    buffer.rewind()
    assert read(buffer) == body
    buffer.close()
    assert (buffer.in_file, buffer.size, buffer.read()) == (False, 0, b"")


def test_beyond_the_bound_nothing_is_taken() -> None:
    buffer = RequestBuffer(Buffering(memory=4, maximum=10))
    assert buffer.write(b"1234567890")
    assert not buffer.write(b"1")
    assert read(buffer) == b"1234567890"


def test_memory_may_be_none_at_all(folder: Path) -> None:
    buffer = RequestBuffer(Buffering(memory=0, maximum=10))
    assert buffer.write(b"1")
    assert buffer.in_file
    assert read(buffer) == b"1"


def test_a_folder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        RequestBuffer(Buffering(memory=0, maximum=10)).write(b"1")


@pytest.mark.linux
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda buffering: open("/dev/full", "r+b", 0))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        RequestBuffer(Buffering(memory=0, maximum=10)).write(b"1")


def test_a_file_that_was_cut_is_not_taken_for_the_end(folder: Path) -> None:
    buffer = RequestBuffer(Buffering(memory=0, maximum=10))
    buffer.write(b"12345")
    assert buffer._file is not None
    buffer._file.truncate(3)
    assert buffer.read() == b"123"
    with pytest.raises(OSError, match="shorter"):
        buffer.read()
