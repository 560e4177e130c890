"""Where lines go: access records and application events, to standard streams or to files that can be reopened."""

import contextlib
import io
import json
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from select import PIPE_BUF
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import provider

from twisted_lb.errors import ConfigError

MOST_LINES = 1000
"""Lines collected at most before they are written."""


class LineFile:
    """A file, or a standard stream, to which whole lines are appended; reopened after somebody has moved it away.

    ``path``: ``None`` for the descriptor ``fd``, which is left open. ``lost``: lines that could not be written.
    A file that was closed opens itself again for each write: a connection that began before a reload which gave up
    this file still has its line to say.
    """

    _log = Logger()

    def __init__(self, path: str | None, fd: int) -> None:
        self.path = path
        self.lost = 0
        self._told = 0
        self._use(fd if path is None else _open(path))

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._room: select.poll | None = None
        with contextlib.suppress(OSError):  # there may be no standard stream at all
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return
            # Whoever reads a pipe may stop to. O_NONBLOCK would hold for all who have this pipe or terminal open.
            self._room = select.poll()
            self._room.register(fd, select.POLLOUT)

    def write(self, data: bytes) -> None:
        """Append ``data``, whole lines. A disk or pipe that is full loses them, and they are counted; nothing waits."""
        if self._fd >= 0:
            self._write(data)
            return
        try:
            self._use(_open(self.path or os.devnull))
        except ConfigError:
            self.lost += data.count(b"\n")
            return
        self._write(data)
        self.close()

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                end = len(data)
                if self._room is not None:
                    if not self._room.poll(0):
                        break
                    end = data.rfind(b"\n", done, done + PIPE_BUF) + 1 or done + PIPE_BUF
                done += os.write(self._fd, data[done:end])
        except OSError:
            pass
        if done < len(data):
            self.lost += data.count(b"\n", done)
        elif self.lost > self._told:
            count, self._told = self.lost - self._told, self.lost
            self._log.warn("{count} lines for {name} were lost", count=count, name=self.path or "a standard stream")

    def reopen(self) -> None:
        """Go on in a new file of the same name. Raises ConfigError and keeps the old one if that cannot be opened."""
        if self.path is not None:
            before = self._fd
            self._use(_open(self.path))
            os.close(before)

    def close(self) -> None:
        """Close the file; a standard stream stays open."""
        if self.path is not None and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigError(f"cannot write to {path}: {error.strerror}") from None


class LineBuffer:
    """Collects lines and writes them once per batch of events.

    ``after_batch(call)``: calls ``call`` at the end of the current batch, or at once.
    """

    def __init__(self, file: LineFile, after_batch: Callable[[Callable[[], None]], None]) -> None:
        self.file = file
        self._after_batch = after_batch
        self._lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Append a line, which has no line end of its own."""
        self._lines.append(line)
        if len(self._lines) == 1:
            self._after_batch(self.flush)
        elif len(self._lines) >= MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._lines:
            self._lines.append(b"")
            data = b"\n".join(self._lines)
            self._lines.clear()
            self.file.write(data)


def text_line(event: LogEvent) -> str:
    """Format an application event for people: time, level, where, message, and a traceback if there is one."""
    moment = event.get("log_time", time.time())
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment))
    level = event.get("log_level") or LogLevel.info
    head = f"{clock}.{int(moment % 1 * 1000):03d} {level.name} [{event.get('log_namespace', '-')}] {_message(event)}"
    return head + _traceback(event)


def json_line(event: LogEvent) -> str:
    """Format an application event for machines: one JSON object, with the event's own fields beside the message."""
    moment = event.get("log_time", time.time())
    fields: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z",
        "level": (event.get("log_level") or LogLevel.info).name,
        "namespace": event.get("log_namespace", "-"),
        "message": _message(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _LEGACY and name not in fields:
            fields[name] = value if isinstance(value, str | int | float | bool | None) else str(value)
    if "log_failure" in event:
        fields["traceback"] = _traceback(event).strip()
    return json.dumps(fields, ensure_ascii=False)


_LEGACY = {"isError", "failure", "message", "time", "system", "format", "logLevel", "why"}


def _message(event: LogEvent) -> str:
    return formatEvent(event).replace("\n", "\n    ") or str(event.get("log_failure", ""))


def _traceback(event: LogEvent) -> str:
    if "log_failure" not in event:
        return ""
    text: str = event["log_failure"].getTraceback()
    return "\n    " + text.rstrip().replace("\n", "\n    ")


def observer(file: LineFile, log_format: str, level: str) -> ILogObserver:
    """Make the observer that writes application events of ``level`` and above to ``file``."""
    line = json_line if log_format == "json" else text_line

    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        if not _is_noise(event):
            file.write(line(event).encode("utf-8", "backslashreplace") + b"\n")

    threshold = LogLevelFilterPredicate(LogLevel.lookupByName(level))
    return FilteringLogObserver(write, [threshold])


def _is_noise(event: LogEvent) -> bool:
    # Twisted caches its plugin list beside the package and grumbles where that is not writable. Nothing is wrong then.
    return "Unable to write to plugin cache" in str(event.get("format") or event.get("log_format"))


def standard_error() -> int:
    """The descriptor of the standard error stream that the process was started with."""
    return _fileno(sys.__stderr__, 2)


def standard_output() -> int:
    """The descriptor of the standard output that the process was started with."""
    return _fileno(sys.__stdout__, 1)


def _fileno(stream: io.TextIOBase | Any, default: int) -> int:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return default
