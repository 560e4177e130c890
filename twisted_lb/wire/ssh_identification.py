"""SSH's first line, in which each side says what it is; pure.

Source: RFC 4253, sections 4.2 and 5.1. It forbids a ``-`` in the software's name; libssh and JSch have sent one for
years, and it changes nothing about how the line is read, so it passes. So does a LF without a CR, with which JSch up to
0.1.55 ends its line, and which OpenSSH reads likewise.
"""

import re
from typing import NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NEED_MORE, NeedMore
from twisted_lb.wire.lines import LineSplitter

MAX_IDENTIFICATION_BYTES = 255
"""CR LF included."""
MAX_SERVER_BYTES = 8192
"""Of all that a server says until its identification is over. OpenSSH reads 1024 lines of 8 KiB."""

_PREFIX = b"SSH-"
_IDENTIFICATION = re.compile(rb"SSH-([0-9]{1,3}\.[0-9]{1,3})-([!-~]+)(?: ([^\x00-\x1f\x7f]*))?")
_VERSIONS = (b"2.0", b"1.99")
"""1.99 is 2.0 of somebody who could speak 1 as well."""


class Identification(NamedTuple):
    """``version``: ``2.0`` or ``1.99``. ``software``: such as ``OpenSSH_9.2p1``, printable ASCII without blanks."""

    version: str
    software: str


def read_ssh_client(data: bytes) -> Identification | NeedMore:
    """Read the identification that ``data``, the client's first bytes, begins with: nothing else may be before it.

    Raises: WireError ``ssh-identification``, ``ssh-version`` and what a ``LineSplitter`` raises; no other exception.
    """
    if data[: len(_PREFIX)] != _PREFIX[: len(data)]:
        raise WireError("ssh-identification")
    line, _ = LineSplitter("ssh", MAX_IDENTIFICATION_BYTES, lenient=True).take(data)
    return NEED_MORE if line is None else _read(line)


def _read(line: bytes, name: str = "ssh") -> Identification:
    match = _IDENTIFICATION.fullmatch(line)
    if match is None or len(line) > MAX_IDENTIFICATION_BYTES - 2:
        raise WireError(f"{name}-identification")
    if match[1] not in _VERSIONS:
        raise WireError(f"{name}-version", len(_PREFIX))
    return Identification(match[1].decode(), match[2].decode())


class SshServerIdentification:
    """Waits for a server's identification, before which it may say other lines; one object per connection.

    A LF alone ends its lines: a server that can speak version 1 as well sends no CR (section 5.1).
    """

    __slots__ = ("_lines", "_room")

    def __init__(self) -> None:
        self._lines = LineSplitter("ssh-server", MAX_SERVER_BYTES, lenient=True)
        self._room = MAX_SERVER_BYTES

    def feed(self, data: bytes) -> Identification | None:
        """Take what the server said next; ``None`` until its identification is there. Call it no more after that.

        Raises: WireError ``ssh-server-identification``, ``-version``, ``-long`` and what a ``LineSplitter`` raises.
        """
        at = 0
        while at < len(data):
            line, end = self._lines.take(data[: at + self._room], at)
            self._room -= end - at
            at = end
            if line is not None and line.startswith(_PREFIX):
                return _read(line, "ssh-server")
            if not self._room:
                raise WireError("ssh-server-long", MAX_SERVER_BYTES)
        return None
