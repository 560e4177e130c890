"""Servers and clients inside namespaces; a server tells each client whom it takes it for.

Imported by tests, runs no test itself.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from tests.loopback.servers import ANSWER_S
from tests.namespaces.netns import Namespace
from tests.namespaces.topology import family_of

Ends = tuple[str, int]
Setting = tuple[int, int, int | bytes]
"""A socket option: its level, its number and its value."""


@dataclass(frozen=True)
class Seen:
    """What a server tells of a connection: the server's name, who it is from, and where to."""

    server: str
    peer: Ends
    local: Ends


class Witness:
    """A server inside a namespace. To each client it says what it sees of it, a line, and then what it hears.

    ``seen``: all its connections so far, in order.
    """

    def __init__(
        self, namespace: Namespace, name: str, *ends: Ends, options: tuple[Setting, ...] = (), protocol: int = 0
    ) -> None:
        """``ends``: where it listens. ``options``: of its listening sockets."""
        self.name = name
        self.seen: list[Seen] = []
        self._listening = [_listening(namespace, end, options, protocol) for end in ends]
        self._threads = [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._listening]
        for thread in self._threads:
            thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, peer = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, peer), daemon=True).start()

    def _serve(self, client: socket.socket, peer: Any) -> None:
        with client, contextlib.suppress(OSError):
            seen = Seen(self.name, peer[:2], client.getsockname()[:2])
            self.seen.append(seen)
            client.sendall(json.dumps([seen.server, seen.peer, seen.local]).encode() + b"\n")
            while data := client.recv(65536):
                client.sendall(data)

    def close(self) -> None:
        """Listen no more."""
        for one in self._listening:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(ANSWER_S)


def _listening(namespace: Namespace, end: Ends, options: tuple[Setting, ...], protocol: int) -> socket.socket:
    family = family_of(end[0])
    with namespace.entered():
        made = socket.socket(family, socket.SOCK_STREAM, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    for option in options:
        made.setsockopt(*option)
    made.bind(end)
    made.listen(4096)
    return made


class Visit:
    """A client's connection, made inside a namespace. A context manager; ``to``: where to. ``ends``: its own
    address and port.
    """

    def __init__(
        self,
        namespace: Namespace,
        to: Ends,
        source: str | Ends | None = None,
        options: tuple[Setting, ...] = (),
        timeout_s: float = ANSWER_S,
    ) -> None:
        """``source``: its own address, or address and port. ``options``: set before it connects. Raises OSError."""
        self.to = to
        with namespace.entered():
            self.socket = socket.socket(family_of(to[0]))
        try:
            self.socket.settimeout(timeout_s)
            for option in options:
                self.socket.setsockopt(*option)
            if source is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.socket.bind((source, 0) if isinstance(source, str) else source)
            self.socket.connect(to)
            self.ends: Ends = self.socket.getsockname()[:2]
            self._received = self.socket.makefile("rb")
        except BaseException:
            self.socket.close()
            raise

    def seen(self) -> Seen:
        """Read what the server says of this connection; an AssertionError if the connection is ended instead."""
        line = self._line()
        assert line.endswith(b"\n"), f"the server was not reached: {line!r}"
        server, peer, local = json.loads(line)
        return Seen(server, (peer[0], peer[1]), (local[0], local[1]))

    def refused(self) -> bool:
        """Whether the connection is ended without a word."""
        return self._line() == b""

    def ask(self, said: bytes, expected: int | None = None) -> bytes:
        """Say ``said`` and return what comes back: ``expected`` bytes, as many as were said if not told."""
        self.socket.sendall(said)
        return self._received.read(len(said) if expected is None else expected)

    def rest(self) -> bytes:
        """Say that this is all, and return everything up to the end."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self._received.read()

    def _line(self) -> bytes:
        try:
            return self._received.readline()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        """Close it."""
        self._received.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def seen_by(namespace: Namespace, to: Ends, source: str | Ends | None = None) -> tuple[Seen, Ends]:
    """Connect and leave at once: what the server saw, and the client's own address and port."""
    with Visit(namespace, to, source) as visit:
        return visit.seen(), visit.ends


@contextlib.contextmanager
def closing_all() -> Iterator[Callable[[Witness], Witness]]:
    """Yield a function that notes servers, to close them at the end."""
    with contextlib.ExitStack() as stack:

        def note(made: Witness) -> Witness:
            stack.callback(made.close)
            return made

        yield note
