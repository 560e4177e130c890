"""The commands of an SMTP client, told apart from the messages between them; pure.

What is a command and what is text depends on the server's answers, so both sides are read, and neither may run ahead
where the other could read what it says in two ways. Source: RFC 5321, sections 4.1.1, 4.2 and 4.5.2; RFC 2920, section
3.1 (pipelining); RFC 3030, section 2 (BDAT); RFC 3207 (STARTTLS); RFC 4954, section 4 (AUTH). For ends of messages that
programs read in different ways: CVE-2023-51764.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

from twisted_lb.errors import WireError
from twisted_lb.wire.lines import LineSplitter

MAX_COMMAND_BYTES: Final = 2000
"""Unless told otherwise. Postfix reads a line longer than 2048 bytes as two, and so the end of one as a command."""
MAX_RESPONSE_BYTES: Final = 12288
"""Of what a client answers during AUTH; the limit of RFC 4954, section 4.3."""
MAX_REPLY_BYTES: Final = 4096
"""Of one line of a reply; RFC 5321 has 512."""
WAITED_FOR: Final = frozenset({"AUTH", "DATA", "EHLO", "STARTTLS"})
"""Nothing may be said behind these until they are answered; all of them end a pipeline anyway."""

_COMMAND: Final = re.compile(rb"([A-Za-z][A-Za-z0-9]{0,30})(?:[ \t](.*))?", re.DOTALL)
_CHUNK: Final = re.compile(rb"[ \t]*([0-9]{1,15})(?:[ \t]+LAST)?[ \t]*", re.IGNORECASE)
_REPLY: Final = re.compile(rb"([2-5][0-9]{2})(?:([ \-])(.*))?", re.DOTALL)
_DOT: Final = re.compile(rb"[\r\n]\.[\r\n]")
_LONGEST_END: Final = 4
"""Bytes of the message's end before the one that decides whether it is one."""


class _Reading(Enum):
    COMMANDS = 0
    RESPONSE = 1
    """A line that belongs to AUTH."""
    MESSAGE = 2
    CHUNK = 3


class MessageEnd:
    """Looks for the line of one dot that ends a message. What only some programs take for one is refused."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, data: bytes, at: int) -> int | None:
        """Take ``data`` from ``at`` on; returns where the message's end is behind us, ``None`` if it has not come.

        Raises: WireError ``smtp-message-end``; no other exception.
        """
        before = len(self._tail)
        text = self._tail + data[at:]
        for match in _DOT.finditer(text):
            end = match.end()
            if text[end - 1] == 0x0A or match.start() == 0 or text[match.start() - 1 : match.start() + 1] != b"\r\n":
                raise WireError("smtp-message-end", max(0, at + end - before))
            if end == len(text):
                break
            if text[end] != 0x0A:
                raise WireError("smtp-message-end", at + end - before)
            return at + end + 1 - before
        self._tail = text[-_LONGEST_END:]
        return None


class SmtpDialogue:
    """One connection, from the server's greeting on. After a WireError it must not be used any more.

    ``max_command_bytes``: of the line of a command, its end included.
    ``encrypted``: the server has agreed to STARTTLS; what the client says next is not for this class.
    """

    __slots__ = (
        "_awaited",
        "_chunk",
        "_chunking",
        "_code",
        "_commands",
        "_message",
        "_offers_chunking",
        "_outstanding",
        "_reading",
        "_replies",
        "_responses",
        "encrypted",
    )

    def __init__(self, max_command_bytes: int = MAX_COMMAND_BYTES) -> None:
        self.encrypted = False
        self._commands = LineSplitter("smtp", max_command_bytes)
        self._responses = LineSplitter("smtp", MAX_RESPONSE_BYTES)
        self._replies = LineSplitter("smtp-reply", MAX_REPLY_BYTES, lenient=True)
        self._reading = _Reading.COMMANDS
        self._message = MessageEnd()
        self._chunk = 0
        self._outstanding = 1
        """Replies that have not come, that to the connection itself among them."""
        self._awaited = ""
        """The verb of the last command, if it is one that must be answered before more is said."""
        self._code = b""
        """Of the reply of which there are lines to come."""
        self._chunking = self._offers_chunking = False
        """Whether the server takes BDAT: as the last EHLO was answered, and as far as this answer has come."""

    def client_said(self, data: bytes) -> Iterator[str]:
        """Take what the client said next and yield the verb of each command that ends in it, in capitals.

        Raises: WireError ``smtp-early``, ``smtp-command``, ``smtp-chunking``, ``smtp-chunk``, ``smtp-message-end`` and
            what a ``LineSplitter`` raises; no other exception.
        """
        at = 0
        while at < len(data):
            if self._awaited or self.encrypted:
                raise WireError("smtp-early", at)
            match self._reading:
                case _Reading.COMMANDS:
                    line, at = self._commands.take(data, at)
                    if line is not None:
                        yield self._command(line)
                case _Reading.RESPONSE:
                    line, at = self._responses.take(data, at)
                    if line is not None:
                        self._reading = _Reading.COMMANDS
                        self._outstanding += 1
                        self._awaited = "AUTH"
                case _Reading.MESSAGE:
                    end = self._message.feed(data, at)
                    if end is not None:
                        self._reading = _Reading.COMMANDS
                    at = len(data) if end is None else end
                case _Reading.CHUNK:
                    size = min(self._chunk, len(data) - at)
                    self._chunk -= size
                    at += size
                    if not self._chunk:
                        self._reading = _Reading.COMMANDS

    def _command(self, line: bytes) -> str:
        match = _COMMAND.fullmatch(line)
        if match is None:
            raise WireError("smtp-command")
        verb = match[1].decode().upper()
        self._outstanding += 1
        if verb == "BDAT":
            self._begin_chunk(match[2] or b"")
        elif verb in WAITED_FOR:
            self._awaited = verb
            self._offers_chunking = False
        return verb

    def _begin_chunk(self, arguments: bytes) -> None:
        """Skip what follows BDAT; a server that does not know it would take that for commands."""
        if not self._chunking:
            raise WireError("smtp-chunking")
        match = _CHUNK.fullmatch(arguments)
        if match is None:
            raise WireError("smtp-chunk")
        self._chunk = int(match[1])
        if self._chunk:
            self._reading = _Reading.CHUNK

    def server_said(self, data: bytes) -> None:
        """Take what the server said next.

        Raises: WireError ``smtp-reply``, ``smtp-reply-unasked`` and what a ``LineSplitter`` of that name raises; no
            other exception.
        """
        at = 0
        while at < len(data):
            if self.encrypted:  # it would be read as if it had come encrypted
                raise WireError("smtp-reply-unasked", at)
            line, at = self._replies.take(data, at)
            if line is not None:
                self._reply_line(line)

    def _reply_line(self, line: bytes) -> None:
        match = _REPLY.fullmatch(line)
        if match is None or (self._code and match[1] != self._code):
            raise WireError("smtp-reply")
        if (
            self._awaited == "EHLO"
            and self._outstanding == 1
            and (match[3] or b"").upper().split()[:1] == [b"CHUNKING"]
        ):
            self._offers_chunking = True
        if match[2] == b"-":
            self._code = match[1]
            return
        self._code = b""
        self._replied(match[1])

    def _replied(self, code: bytes) -> None:
        """Take note of a reply that is whole."""
        if not self._outstanding:
            if code != b"421":  # "service closing" may be said at any time
                raise WireError("smtp-reply-unasked")
            return
        self._outstanding -= 1
        awaited = ""
        if not self._outstanding:
            awaited, self._awaited = self._awaited, ""
        match awaited, code:
            case "DATA", b"354":
                self._reading = _Reading.MESSAGE
                self._message = MessageEnd()
                self._outstanding = 1
            case "AUTH", b"334":
                self._reading = _Reading.RESPONSE
            case "STARTTLS", b"220":
                self.encrypted = True
            case "EHLO", b"250":
                self._chunking = self._offers_chunking
            case _, b"354" | b"334":  # to something else: what follows is neither a command nor anything known
                raise WireError("smtp-reply-unasked")
