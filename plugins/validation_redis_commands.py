"""``use = "redis_commands"``: which commands clients of Redis may give, as long as they are connected.

Source: Redis' documentation, "Redis serialization protocol specification" and "Commands".
"""

import re
from collections.abc import Iterable, Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    NEED_MORE,
    Allow,
    ConfigError,
    Deny,
    Facts,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    Options,
    RedisCommand,
    RedisReader,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
)

FACTS = {"protocol": protocol_fact("redis")}
_ENTRY = re.compile(r"([A-Za-z_][A-Za-z0-9_.\-]{0,63})(?: ([A-Za-z0-9_\-]{1,63}))?")
_PRINTABLE = re.compile(rb"[!-~]*")


class RedisCommandsOptions(Options, frozen=True):
    """Commands, such as ``FLUSHALL``, and those that have commands of their own under them, such as ``CONFIG SET``.

    ``deny`` wins over ``allow``; without ``allow`` all are allowed that are not denied.
    """

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None


class Names:
    """The entries of one list. ``whole``: commands; ``parts``: their names to those under them that are meant."""

    __slots__ = ("parts", "whole")

    def __init__(self, entries: Iterable[str], option: str) -> None:
        self.whole: set[str] = set()
        self.parts: dict[str, set[bytes]] = {}
        for entry in entries:
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ConfigError(f'{option}: "{entry}" is no command such as "FLUSHALL" or "CONFIG SET"')
            if match[2] is None:
                self.whole.add(match[1].upper())
            else:
                self.parts.setdefault(match[1].upper(), set()).add(match[2].upper().encode())

    def cover(self, entry: str) -> bool:
        """Whether all that an entry in capitals means is among these."""
        name, _, part = entry.partition(" ")
        return name in self.whole or part.encode() in self.parts.get(name, ())

    def have(self, command: RedisCommand) -> bool:
        """Whether the command is one of these."""
        if command.name in self.whole:
            return True
        return command.argument is not None and command.argument.upper() in self.parts.get(command.name, ())


@implementer(IStreamValidator)
class RedisCommandsValidator:
    """Judges every command of a client."""

    server_first = False

    def __init__(self, options: RedisCommandsOptions) -> None:
        if not options.deny and options.allow is None:
            raise ConfigError('it needs "deny", "allow" or both')
        self._denied = Names(options.deny, "deny")
        self._allowed = None if options.allow is None else Names(options.allow, "allow")
        both = [entry for entry in options.allow or () if self._denied.cover(entry.upper())]
        if both:
            raise ConfigError(*(f'allow: "{one}" is in deny too, which wins, so it is never allowed' for one in both))

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the commands that have come, before a server hears of this client."""
        told = 0
        try:
            for command in RedisReader().feed(data):
                told += 1
                if not self.allows(command):
                    return denied(command)
        except WireError as error:
            return broken(error)
        if not told:
            return NEED_MORE
        facts.learnt.setdefault("protocol", "redis")
        return ALLOW

    def allows(self, command: RedisCommand) -> bool:
        """Whether a client may give this command.

        Servers before 7 compared up to a zero byte: where the second word matters, it must not have such bytes.
        """
        if self._denied.have(command):
            return False
        if command.name in self._denied.parts and _PRINTABLE.fullmatch(command.argument or b"") is None:
            return False
        return self._allowed is None or self._allowed.have(command)

    def watch(self, facts: Facts) -> "RedisCommandsWatch":
        """Watch to the end."""
        return RedisCommandsWatch(self)


def denied(command: RedisCommand) -> Deny:
    """Refuse a command, as a server refuses those that its access list does not allow."""
    farewell = f"-NOPERM this connection may not run the '{command.name.lower()}' command like this\r\n"
    return Deny(f"redis-command-denied {command.name}", farewell=farewell.encode())


def broken(error: WireError) -> Deny:
    """Refuse what is no command: what cannot be read cannot be judged."""
    return Deny(error.reason, farewell=f"-ERR Protocol error: {error.reason}\r\n".encode())


@implementer(IStreamWatch)
class RedisCommandsWatch:
    """One connection. What the server says does not matter."""

    __slots__ = ("_reader", "_validator")

    def __init__(self, validator: RedisCommandsValidator) -> None:
        self._validator = validator
        self._reader = RedisReader()

    def client_said(self, data: bytes) -> Allow | Deny:
        """Let ``data`` pass if no command in it, or that ends in it, is denied."""
        allows = self._validator.allows
        try:
            for command in self._reader.feed(data):
                if not allows(command):
                    return denied(command)
        except WireError as error:
            return broken(error)
        return ALLOW

    def server_said(self, data: bytes) -> Allow:
        """Let everything pass."""
        return ALLOW_FINALLY


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``redis_commands``."""
    return {"redis_commands": Supply(RedisCommandsValidator, RedisCommandsOptions, mode="tcp", facts=FACTS)}
