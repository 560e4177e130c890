"""HTTP servers and clients around a load balancer of ``tests.whole``, all in one thread; imported by tests.

Nothing happens unless a test waits for something, so that it is the test who says what happens first.
"""

import contextlib
import re
import socket
from collections.abc import Callable
from typing import Any

from tests.whole import Running, config

Answer = Callable[[bytes], bytes | None]
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *fields, "", ""]).encode()


def post(body: bytes = b"body", path: str = "/", *fields: str) -> bytes:
    """A request with a body."""
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body


def whole(data: bytes) -> int:
    """How many bytes the message at the front of ``data`` has, 0 if it is not whole. Bodies have a Content-Length."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    found = LENGTH.search(data, 0, head + 2)
    end = head + 4 + (int(found[1]) if found else 0)
    return end if len(data) >= end else 0


class Served:
    """A server's end of one connection. ``asked``: its whole requests. ``ended``: the other end closed it."""

    def __init__(self, sock: socket.socket, peer: Any) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.peer = peer
        self.heard = b""
        self.asked: list[bytes] = []
        self.ended = False

    def say(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def close(self, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()
        self.ended = True


class Upstream:
    """A server. ``answer``: what it says to a request; ``None``: nothing yet. ``served``: its connections so far."""

    def __init__(self, answer: Answer = lambda request: OK, preface: int = 0) -> None:
        """``preface``: bytes that come before the first request of each connection."""
        self.answer = answer
        self.served: list[Served] = []
        self._preface = preface
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[bytes]:
        """The requests of all connections, connection by connection."""
        return [request for one in self.served for request in one.asked]

    @property
    def open(self) -> int:
        """How many connections are open."""
        return sum(not one.ended for one in self.served)

    def turn(self) -> None:
        """Accept, read and answer what there is."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.served.append(Served(*self._listening.accept()))
        for one in self.served:
            if not one.ended:
                self._serve(one)

    def _serve(self, one: Served) -> None:
        try:
            data = one.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            one.close()
            return
        one.heard += data
        if not one.asked and len(one.heard) < self._preface:
            return
        start = 0 if one.asked else self._preface
        while size := whole(one.heard[start:]):
            request, one.heard = one.heard[start : start + size], one.heard[start + size :]
            start = 0
            one.asked.append(request)
            answer = self.answer(request)
            if answer is not None:
                one.say(answer)

    def close(self) -> None:
        for one in self.served:
            one.sock.close()
        self._listening.close()


class Client:
    """A client's connection; ``ended``: it was closed."""

    def __init__(self, site: "Site", sock: socket.socket) -> None:
        sock.setblocking(False)
        self._site = site
        self.sock = sock
        self.heard = b""
        self.ended = False

    def send(self, data: bytes) -> "Client":
        self.sock.sendall(data)
        return self

    def turn(self) -> None:
        """Read what there is."""
        if self.ended:
            return
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.heard += data
        self.ended = not data

    def answer(self) -> bytes:
        """Wait for a whole response, and return it; nothing if the connection ends before."""
        self._site.until(lambda: whole(self.heard) or self.ended, "a response")
        size = whole(self.heard)
        said, self.heard = self.heard[:size], self.heard[size:]
        return said

    def status(self) -> int:
        """Wait for a whole response, and return its status; 0 if the connection ends before."""
        said = self.answer()
        return int(said[9:12]) if said else 0

    def ask(self, request: bytes = get()) -> int:
        """Send a request, and return the response's status."""
        return self.send(request).status()

    def close(self) -> None:
        self.sock.close()
        self.ended = True


class Site:
    """A load balancer in HTTP mode with servers and clients."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.upstreams: list[Upstream] = []
        self.clients: list[Client] = []

    def upstream(self, answer: Answer = lambda request: OK, preface: int = 0) -> Upstream:
        self.upstreams.append(Upstream(answer, preface))
        return self.upstreams[-1]

    def config(self, *servers: Any, of_frontend: Any = None, **of_backend: Any) -> dict[str, Any]:
        """A configuration with one frontend and one backend; a server is an ``Upstream`` or what the file has."""
        spelt = [one.address if isinstance(one, Upstream) else one for one in servers]
        http = {"mode": "http", **(of_frontend or {})}
        return config("127.0.0.1:0", *spelt, of_frontend=http, of_backend=of_backend)

    def start(self, *servers: Any, **settings: Any) -> None:
        self.running.start(self.config(*servers, **settings))

    def client(self, source: str | None = None) -> Client:
        """Connect a client, from ``source`` if it is given."""
        address = ("127.0.0.1", self.running.port())
        sock = socket.create_connection(address, 5, (source, 0) if source else None)
        self.clients.append(Client(self, sock))
        return self.clients[-1]

    def server(self, name: str = "s1", backend: str = "app") -> Any:
        """The server at run time."""
        assert self.running.balancer.assembly is not None
        return next(one for one in self.running.balancer.assembly.backends[backend].servers if one.name == name)

    def turn(self) -> None:
        self.running.turn()
        self._turn_others()

    def _turn_others(self) -> None:
        for upstream in self.upstreams:
            upstream.turn()
        for client in self.clients:
            client.turn()

    def until(self, probe: Callable[[], Any], what: str) -> None:
        """Let everything happen until ``probe`` answers something true."""

        def turned() -> Any:
            self._turn_others()
            return probe()

        self.running.until(turned, what)

    def settle(self) -> None:
        """Let everything happen that is on its way."""
        for _ in range(20):
            self.turn()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, and everything happen meanwhile."""
        end = self.running.clock.seconds() + seconds
        while self.running.clock.seconds() < end:
            self.running.clock.advance(min(0.05, end - self.running.clock.seconds()))
            self.turn()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for upstream in self.upstreams:
            upstream.close()
