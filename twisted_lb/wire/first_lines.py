"""The first exchange of a protocol of lines in which the server speaks first: its greeting, and the first command.

What is refused: a client that speaks before the greeting is over (it does not know who listens: a web form that is made
to send mail, a worm), a greeting that is none, a first line that is no command of the protocol.
"""

from collections.abc import Callable
from typing import NamedTuple

from twisted_lb.errors import WireError
from twisted_lb.wire.lines import LineSplitter

MAX_GREETING_BYTES = 16384
MAX_TAG_BYTES = 64


class LineProtocol(NamedTuple):
    """What is special about a protocol.

    ``ends_greeting``: is given each line of the greeting and what the one before it left behind, ``b""`` at first;
    returns what the next one is to be given, or ``None`` if this was the last, or raises WireError.
    ``verbs``: in capitals. ``refusal``: what a server would say to a client that it will not hear. ``tagged``: a word
    of the client's choice is before each verb. ``check``: is given verb and arguments of the first command, and may
    raise WireError; returns facts by name.
    """

    name: str
    ends_greeting: Callable[[bytes, bytes], bytes | None]
    verbs: frozenset[bytes]
    max_line_bytes: int
    """Of the first command, CR LF included."""
    refusal: bytes
    tagged: bool = False
    check: Callable[[bytes, bytes], dict[str, str]] = lambda verb, arguments: {}


class FirstLines:
    """One connection's first exchange. All methods raise WireError ``PROTOCOL-...`` and no other exception."""

    __slots__ = ("_command", "_greeting", "_room", "_state", "_verb_known", "greeted", "protocol")

    def __init__(self, protocol: LineProtocol) -> None:
        self.protocol = protocol
        self.greeted = False
        self._command = LineSplitter(protocol.name, protocol.max_line_bytes)
        self._greeting = LineSplitter(f"{protocol.name}-greeting", MAX_GREETING_BYTES, lenient=True)
        self._room = MAX_GREETING_BYTES
        self._state = b""
        self._verb_known = False

    def server_said(self, data: bytes) -> bool:
        """Take what the server said next; true when its greeting is over. Call it no more after that."""
        at = 0
        while at < len(data):
            line, end = self._greeting.take(data[: at + self._room], at)
            self._room -= end - at
            at = end
            if line is not None:
                state = self.protocol.ends_greeting(line, self._state)
                if state is None:
                    self.greeted = True
                    return True
                self._state = state
            if not self._room:
                raise WireError(f"{self.protocol.name}-greeting-long", MAX_GREETING_BYTES)
        return False

    def client_said(self, data: bytes) -> dict[str, str] | None:
        """Take what the client said next; ``None`` until its first command is whole.

        Returns: the facts about it, among them ``PROTOCOL.command``. Call it no more after that.
        """
        name = self.protocol.name
        if not self.greeted:
            raise WireError(f"{name}-before-greeting")
        if not self._verb_known:
            most = self.protocol.max_line_bytes
            self._verb_known = self._check_verb((self._command.begun + data[:most])[:most])
        line, _ = self._command.take(data)
        if line is None:
            return None
        words = line.split(b" ", 2 if self.protocol.tagged else 1)
        if self.protocol.tagged:
            del words[0]
        verb = words[0].upper()
        facts = self.protocol.check(verb, words[1] if len(words) > 1 else b"")
        return {f"{name}.command": verb.decode(), **facts}

    def _check_verb(self, line: bytes) -> bool:
        """Refuse a line at the first byte that no command has; true once its verb is there."""
        name, at = self.protocol.name, 0
        if self.protocol.tagged:
            at = line.find(b" ", 0, MAX_TAG_BYTES + 1)
            tag = line[: at if at >= 0 else MAX_TAG_BYTES + 1]
            if not at or len(tag) > MAX_TAG_BYTES or not _is_tag(tag):
                raise WireError(f"{name}-tag")
            if at < 0:
                return False
            at += 1
        longest = max(map(len, self.protocol.verbs))
        word = line[at : at + longest + 1]
        end = next((place for place, byte in enumerate(word) if byte in b" \r\n"), -1)
        if end >= 0:
            if word[:end].upper() not in self.protocol.verbs:
                raise WireError(f"{name}-command", at)
            return True
        begun = word.upper()
        if not any(verb.startswith(begun) for verb in self.protocol.verbs):
            raise WireError(f"{name}-command", at)
        return False


def _is_tag(tag: bytes) -> bool:
    """RFC 9051, section 9: one or more of what an astring may have, but for ``+``."""
    return all(0x20 < byte < 0x7F and byte not in b'(){%*"\\+' for byte in tag)
