"""Lines reach their file whole, survive rotation, and never hold up the proxy."""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from twisted_lb.errors import ConfigError
from twisted_lb.logs import MOST_LINES, LineBuffer, LineFile, json_line, observer, text_line

PIPE_BYTES = 4096
MOMENT = 1795376895.123


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read(fd: int) -> bytes:
    data = b""
    while True:
        try:
            more = os.read(fd, 1 << 20)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


# Files


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    file = LineFile(str(path), -1)
    file.write(b"one\ntwo\n")
    file.close()
    assert path.read_bytes() == b"before\none\ntwo\n"


def test_a_new_file_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    LineFile(str(tmp_path / "log"), -1).close()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


def test_after_a_rotation_lines_go_to_a_new_file(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    file = LineFile(str(path), -1)
    file.write(b"one\n")
    path.rename(rotated)
    file.write(b"two\n")
    file.reopen()
    file.write(b"three\n")
    file.close()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")


def test_a_file_that_cannot_be_reopened_stays_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LineFile(str(folder / "log"), -1)
    folder.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"cannot write to .*No such file"):
        file.reopen()
    file.write(b"still here\n")
    file.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"still here\n"


@pytest.mark.parametrize("path", ["{}", "{}/missing/log"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LineFile(path.format(tmp_path), -1)
    assert path.format(tmp_path) in str(caught.value)


def test_a_line_that_comes_after_the_end_still_reaches_its_file_and_no_other(tmp_path: Path) -> None:
    # The number of the closed descriptor was written to, which by then could be that of a client's connection.
    path, other = tmp_path / "log", tmp_path / "other"
    file = LineFile(str(path), -1)
    file.write(b"one\n")
    before = set(os.listdir("/proc/self/fd"))
    file.close()
    stolen = os.open(other, os.O_WRONLY | os.O_CREAT)
    file.write(b"two\n")
    os.close(stolen)
    file.close()
    assert (path.read_bytes(), other.read_bytes(), file.lost) == (b"one\ntwo\n", b"", 0)
    assert set(os.listdir("/proc/self/fd")) < before


def test_a_line_that_comes_after_the_end_of_a_file_that_is_gone_is_counted(tmp_path: Path) -> None:
    file = LineFile(str(tmp_path / "log"), -1)
    file.close()
    (tmp_path / "log").unlink()
    tmp_path.rmdir()
    file.write(b"one\ntwo\n")
    assert file.lost == 2


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    file = LineFile("/dev/full", -1)
    file.write(b"one\ntwo\n")
    file.write(b"three\n")
    file.close()
    assert file.lost == 3


# Standard streams


def test_a_standard_stream_stays_open(pipe: tuple[int, int]) -> None:
    file = LineFile(None, pipe[1])
    file.write(b"one\n")
    file.reopen()
    file.close()
    os.write(pipe[1], b"two\n")
    assert read(pipe[0]) == b"one\ntwo\n"


def test_a_full_pipe_loses_whole_lines_counts_them_and_holds_up_nobody(pipe: tuple[int, int]) -> None:
    file = LineFile(None, pipe[1])
    line = b"x" * 99 + b"\n"
    for _ in range(100):
        file.write(line)
    got = read(pipe[0])
    assert set(got.split(b"\n")) == {b"x" * 99, b""}, "a line was torn"
    assert file.lost == 100 - got.count(b"\n")
    assert file.lost > 50
    lost = file.lost
    file.write(b"again\n")
    assert read(pipe[0]) == b"again\n"
    assert file.lost == lost


def test_many_lines_at_once_fill_a_pipe_up_to_the_last_whole_line(pipe: tuple[int, int]) -> None:
    file = LineFile(None, pipe[1])
    file.write((b"x" * 99 + b"\n") * 100)
    got = read(pipe[0])
    assert set(got.split(b"\n")) == {b"x" * 99, b""}
    assert got.count(b"\n") + file.lost == 100


def test_that_lines_were_lost_is_logged_when_there_is_room_again(pipe: tuple[int, int], logged: list[LogEvent]) -> None:
    file = LineFile(None, pipe[1])
    for _ in range(100):
        file.write(b"x" * 99 + b"\n")
    assert not logged
    read(pipe[0])
    file.write(b"again\n")
    assert [event["count"] for event in logged] == [file.lost]
    file.write(b"and again\n")
    assert len(logged) == 1


def test_the_pipe_itself_is_left_as_it_is(pipe: tuple[int, int]) -> None:
    LineFile(None, pipe[1]).write(b"one\n")
    assert os.get_blocking(pipe[1]), "whoever shares the pipe would be surprised"


def test_a_pipe_that_nobody_reads_any_more_loses_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = LineFile(None, writing)
    file.write(b"one\n")
    assert file.lost == 1
    os.close(writing)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[LogEvent]:
    events: list[LogEvent] = []
    monkeypatch.setattr(LineFile, "_log", Logger(observer=events.append))  # type: ignore[arg-type]
    return events


# Buffers


class Written:
    """A file that remembers each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def test_the_lines_of_one_batch_are_written_at_once_at_its_end() -> None:
    file: Any = Written()
    later: list[Callable[[], None]] = []
    lines = LineBuffer(file, later.append)
    for line in (b"one", b"two", b"three"):
        lines.write(line)
    assert file.writes == []
    assert len(later) == 1
    later.pop()()
    assert file.writes == [b"one\ntwo\nthree\n"]
    lines.write(b"four")
    later.pop()()
    assert file.writes[1:] == [b"four\n"]


def test_between_batches_a_line_is_written_at_once() -> None:
    file: Any = Written()
    LineBuffer(file, lambda call: call()).write(b"one")
    assert file.writes == [b"one\n"]


def test_a_batch_with_very_many_lines_is_written_in_portions() -> None:
    file: Any = Written()
    later: list[Callable[[], None]] = []
    lines = LineBuffer(file, later.append)
    for number in range(MOST_LINES + 5):
        lines.write(b"%d" % number)
    for call in later:
        call()
    assert b"".join(file.writes).splitlines() == [b"%d" % number for number in range(MOST_LINES + 5)]
    assert max(data.count(b"\n") for data in file.writes) <= MOST_LINES


# Application events


def failure() -> Failure:
    try:
        raise ValueError("a\nb")
    except ValueError:
        return Failure()


def event(**fields: Any) -> LogEvent:
    return {
        "log_time": MOMENT,
        "log_level": LogLevel.warn,
        "log_namespace": "twisted_lb",
        "log_format": "{count} things",
        "count": 3,
        **fields,
    }


def test_a_text_line_says_when_how_bad_where_and_what() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.12[23] warn \[twisted_lb\] 3 things", text_line(event()))


def test_a_json_line_has_the_events_own_fields() -> None:
    fields = json.loads(json_line(event(name="web", odd=object)))
    assert fields["time"].startswith("2026-11-22T19:48:15.12")
    assert fields["time"].endswith("Z")
    assert (fields["level"], fields["namespace"], fields["message"]) == ("warn", "twisted_lb", "3 things")
    assert (fields["count"], fields["name"]) == (3, "web")
    assert isinstance(fields["odd"], str)
    assert not [name for name in fields if name.startswith("log_")]


@pytest.mark.parametrize("line", [text_line, json_line])
def test_a_traceback_is_part_of_its_event(line: Callable[[LogEvent], str]) -> None:
    text = line(event(log_failure=failure()))
    assert "3 things" in text
    assert "Traceback" in text
    assert "ValueError" in text


def test_a_json_event_is_one_line_whatever_stands_in_it() -> None:
    text = json_line(event(log_format="{what}", what="a\nb\r\u2028", log_failure=failure()))
    assert "\n" not in text
    assert "\r" not in text
    assert json.loads(text)["what"] == "a\nb\r\u2028"


def test_the_lines_of_a_text_event_that_follow_are_indented() -> None:
    lines = text_line(event(log_format="{what}", what="one\ntwo", log_failure=failure())).splitlines()
    assert all(line.startswith("    ") for line in lines[1:])


def test_an_event_of_the_old_kind_is_understood() -> None:
    old: LogEvent = {"format": "%(what)s", "what": "hello", "message": (), "isError": 0, "log_format": "hello"}
    assert text_line(old).endswith("info [-] hello")
    assert json.loads(json_line(old))["message"] == "hello"


def log_with(tmp_path: Path, log_format: str, level: str) -> tuple[Logger, Path]:
    path = tmp_path / "log"
    made: ILogObserver = observer(LineFile(str(path), -1), log_format, level)
    return Logger(namespace="test", observer=made), path


def test_events_below_the_level_are_left_out(tmp_path: Path) -> None:
    log, path = log_with(tmp_path, "json", "warn")
    for level in ("debug", "info", "warn", "error", "critical"):
        getattr(log, level)("something")
    assert [json.loads(line)["level"] for line in path.read_text().splitlines()] == ["warn", "error", "critical"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_is_no_utf8_is_written_all_the_same(tmp_path: Path, log_format: str) -> None:
    log, path = log_with(tmp_path, log_format, "info")
    log.info("path {path}", path="\udcff\xe4")
    assert b"path" in path.read_bytes()


def test_the_grumbling_about_a_plugin_cache_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    log, path = log_with(tmp_path, "text", "info")
    log.error("Unable to write to plugin cache {path}: error number {errno}", path="/x", errno=13)
    log.info("something else")
    assert path.read_text().count("\n") == 1
