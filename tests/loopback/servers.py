"""Servers and clients that the tests talk to; imported by tests, runs no test itself."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ANSWER_S = 10.0
"""How long a client waits for what should take milliseconds."""


class Server:
    """A server whose clients are ``serve``d each in a thread of its own. ``accepted``: how many there were.

    ``address``: as the ``socket`` module takes it.
    """

    def __init__(
        self, serve: Callable[[socket.socket], object], address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET
    ) -> None:
        self.accepted = 0
        self._serve = serve
        self._listening = socket.socket(family)
        if family != socket.AF_UNIX:
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(address)
        self._listening.listen(1024)
        self.address = self._listening.getsockname()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Its TCP port."""
        port: int = self.address[1]
        return port

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve_one, args=(client,), daemon=True).start()

    def _serve_one(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._serve(at_once(client))

    def close(self) -> None:
        """Listen no more; clients that are there are served on."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(ANSWER_S)


class Echo(Server):
    """A server that says ``greeting`` to each client and then repeats what it hears, until the client has said all."""

    def __init__(self, address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET, greeting: bytes = b"") -> None:
        self.greeting = greeting
        super().__init__(self._repeat, address, family)

    def _repeat(self, client: socket.socket) -> None:
        if self.greeting:
            client.sendall(self.greeting)
        while data := client.recv(65536):
            client.sendall(data)


class Silent:
    """A server that never answers a connection attempt: its backlog is full."""

    def __init__(self) -> None:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self._fillers = [socket.socket() for _ in range(8)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self._listening.getsockname())
        self.port: int = self._listening.getsockname()[1]

    def close(self) -> None:
        """Free what it holds."""
        for one in (*self._fillers, self._listening):
            one.close()


@contextlib.contextmanager
def echo(greeting: bytes = b"", address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET) -> Iterator[Echo]:
    """Run an ``Echo`` for a while."""
    made = Echo(address, family, greeting)
    try:
        yield made
    finally:
        made.close()


def connect(address: Any, family: int = socket.AF_INET) -> socket.socket:
    """Connect to ``address``: a port of 127.0.0.1, or what the ``socket`` module takes."""
    made = socket.socket(family)
    made.settimeout(ANSWER_S)
    made.connect(("127.0.0.1", address) if isinstance(address, int) else address)
    return at_once(made)


def at_once(sock: socket.socket) -> socket.socket:
    """Let it send small pieces without waiting for an acknowledgement, which takes 40 ms."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def ask(address: Any, said: bytes = b"ping", family: int = socket.AF_INET) -> bytes:
    """Connect, say ``said`` and that it is all, and return the whole answer: nothing if the connection is ended."""
    with connect(address, family) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(said)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        return hear(client)


def hear(client: socket.socket) -> bytes:
    """Return everything up to the end of stream or reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(65536):
            data += more
    return data


def free_range(free_port: Any, *offsets: int, host: str = "127.0.0.1") -> int:
    """Find a port such that those at each of ``offsets`` from it are free; ``host`` "" for those of every address."""
    for _ in range(100):
        low: int = free_port()
        try:
            for offset in offsets:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, low + offset))
        except OSError:
            continue
        return low
    raise AssertionError("no range of free ports found")


def has_ipv6() -> bool:
    """Whether ::1 can be bound."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback interface")


def abstract(name: str) -> str:
    """Return a name in the abstract namespace that no other run uses; without its NUL byte."""
    return f"twisted-lb-{os.getpid()}-{name}"
