"""The fields in which a proxy speaks for its client: X-Forwarded-* and Forwarded.

Source: RFC 7239; for X-Forwarded-*, common practice.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from twisted_lb.wire.http1_grammar import IS_TOKEN

Speak: TypeAlias = Literal["pass", "remove", "set", "append"]
"""What becomes of such a field: the client's own is let through, removed, replaced by ours, or ours added to its end.
Only lists can be added to; for the others ``append`` is ``set``."""


class Speaking(msgspec.Struct, frozen=True, kw_only=True):
    """What is said to the server about the client. Whatever is not ``pass`` never carries the client's word alone."""

    x_forwarded_for: Speak = "remove"
    x_forwarded_proto: Speak = "remove"
    x_forwarded_host: Speak = "remove"
    x_forwarded_port: Speak = "remove"
    forwarded: Speak = "remove"

    def mode(self, name: bytes) -> Speak:
        """Return what becomes of a field, whose name is in small letters."""
        mode: Speak = getattr(self, name.decode("ascii").replace("-", "_"))
        return mode


SPOKEN = {
    b"x-forwarded-for": b"X-Forwarded-For",
    b"x-forwarded-proto": b"X-Forwarded-Proto",
    b"x-forwarded-host": b"X-Forwarded-Host",
    b"x-forwarded-port": b"X-Forwarded-Port",
    b"forwarded": b"Forwarded",
}
LISTS = frozenset((b"x-forwarded-for", b"forwarded"))


class Speaker:
    """Says the same about one client with each of its requests; only the host differs between them.

    ``client``: its address, IPv6 without brackets, ``b"unknown"`` if it has none. ``port``: the one of ours that it
    connected to. ``secure``: over TLS. With ``excepted`` the client is a proxy whose own word counts: all is passed.
    """

    def __init__(
        self, speaking: Speaking, client: bytes, port: int, *, secure: bool = False, excepted: bool = False
    ) -> None:
        self.modes: dict[bytes, Speak] = {name: "pass" if excepted else speaking.mode(name) for name in SPOKEN}
        self.client = client
        self.proto = b"https" if secure else b"http"
        self.port = b"%d" % port
        self._says = [name for name, mode in self.modes.items() if mode in ("set", "append")]
        fixed = {name: self.value(name, b"") for name in self._says if name not in (b"forwarded", b"x-forwarded-host")}
        self._fixed = b"".join(b"%b: %b\r\n" % (SPOKEN[name], value) for name, value in fixed.items())
        self._by_host = [name for name in self._says if name not in fixed]

    def value(self, name: bytes, host: bytes) -> bytes:
        """Return what is said in one field."""
        if name == b"x-forwarded-for":
            return self.client
        if name == b"x-forwarded-proto":
            return self.proto
        if name == b"x-forwarded-port":
            return self.port
        if name == b"x-forwarded-host":
            return host
        return forwarded_element(self.client, host, self.proto)

    def lines(self, host: bytes, before: dict[bytes, Sequence[bytes]]) -> bytes:
        """Return the lines to add. ``before``: what came in fields that are added to, by name."""
        if not self._says:
            return b""
        if not before:
            lines = self._fixed
            for name in self._by_host:
                if value := self.value(name, host):
                    lines += b"%b: %b\r\n" % (SPOKEN[name], value)
            return lines
        lines = b""
        for name in self._says:
            if value := b", ".join(filter(None, (*before.get(name, ()), self.value(name, host)))):
                lines += b"%b: %b\r\n" % (SPOKEN[name], value)
        return lines


def forwarded_element(client: bytes, host: bytes, proto: bytes) -> bytes:
    """Return one element of Forwarded; quoted is what is no token. Source: RFC 7239, sections 4 and 6."""
    node = b'"[%b]"' % client if b":" in client else client
    if not host:
        return b"for=%b;proto=%b" % (node, proto)
    quoted = host if IS_TOKEN.fullmatch(host) else b'"%b"' % host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b"for=%b;host=%b;proto=%b" % (node, quoted, proto)
