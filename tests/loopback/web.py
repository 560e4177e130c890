"""HTTP on the side of the tests: strict servers that note what they hear, and clients; it runs no test itself."""

import contextlib
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.loopback.servers import ANSWER_S, Server, connect, hear

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
Parts = tuple[str, str, bytes]
"""Of a request: its method, its target, and its body."""


@dataclass
class Heard:
    """What came over one connection. ``broken``: why it is no HTTP; ``fields``: of each request, in small letters."""

    raw: bytearray = field(default_factory=bytearray)
    requests: list[Parts] = field(default_factory=list)
    fields: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    broken: str = ""


class Recorder(Server):
    """A server that answers each request with its target, and notes what it heard, connection by connection.

    It reads with h11, which takes nothing for HTTP that is not.
    """

    def __init__(self) -> None:
        self.connections: list[Heard] = []
        super().__init__(self._converse)

    def _converse(self, client: socket.socket) -> None:
        heard = Heard()
        self.connections.append(heard)
        reader = h11.Connection(h11.SERVER)
        body = b""
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError as error:
                heard.broken = str(error)
                return
            if event is h11.NEED_DATA:
                data = client.recv(65536)
                heard.raw += data
                reader.receive_data(data)
            elif isinstance(event, h11.Request):
                asked, body = event, b""
                if reader.they_are_waiting_for_100_continue:
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                heard.requests.append((asked.method.decode(), asked.target.decode("latin-1"), body))
                heard.fields.append(list(asked.headers))
                self._answer(client, reader, asked)
                if reader.our_state is not h11.DONE:
                    return
                reader.start_next_cycle()
            else:
                return

    def _answer(self, client: socket.socket, reader: h11.Connection, asked: h11.Request) -> None:
        fields = [("Content-Length", str(len(asked.target)))]
        client.sendall(reader.send(h11.Response(status_code=200, headers=fields, reason="OK")) or b"")
        client.sendall(reader.send(h11.Data(data=asked.target)) or b"")
        reader.send(h11.EndOfMessage())

    @property
    def requests(self) -> list[Parts]:
        """All requests of all connections."""
        return [request for heard in self.connections for request in heard.requests]

    @property
    def raw(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(heard.raw) for heard in self.connections)


class Script(Server):
    """A server that answers the n-th request that it gets, over all connections, as ``answers[n]`` says; the last one
    goes for all further ones. It reads heads alone.

    An answer is the bytes to send, or what to call with the connection. ``heads``: what came.
    """

    def __init__(self, *answers: bytes | Callable[[socket.socket], object], port: int = 0) -> None:
        self.answers = answers
        self.heads: list[bytes] = []
        super().__init__(self._converse, ("127.0.0.1", port))

    def _converse(self, client: socket.socket) -> None:
        buffer = b""
        while data := client.recv(65536):
            buffer += data
            while b"\r\n\r\n" in buffer:
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                answer = self.answers[min(len(self.heads), len(self.answers) - 1)]
                self.heads.append(head)
                if isinstance(answer, bytes):
                    client.sendall(answer)
                else:
                    answer(client)


def get(target: str, *lines: str, host: str = "a.example", method: str = "GET") -> bytes:
    """Spell a request without a body."""
    return "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "")).encode()


def say(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Spell a response."""
    return b"\r\n".join((b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines, b"", body))


def statuses(heard: bytes) -> list[int]:
    """The status of each response in what was heard; no body may contain what looks like one."""
    return [int(status) for status in STATUS.findall(heard)]


def tell(port: int, data: bytes) -> bytes:
    """Send ``data`` over a new connection, keep it open, and return all that comes until the other side closes."""
    with connect(port) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
        return hear(client)


class Client:
    """A client that takes one response after the other, strictly."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)
        self._buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Client":
        """Send whatever it is."""
        self.socket.sendall(data)
        return self

    def response(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Wait for the next response: its status, its fields in small letters, its body. 1xx are passed over.

        Raises: EOFError if the connection ends first.
        """
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(self._buffer) if self._buffer else None
        status, fields, body = 0, {}, b""
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                data = self.socket.recv(65536)
                if not data and not status:
                    raise EOFError
                reader.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                fields = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._buffer = reader.trailing_data[0]
                return status, fields, body
            elif event is h11.PAUSED:
                return status, fields, body  # a tunnel
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError

    def ask(
        self, target: str, *lines: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request, and wait for its response."""
        if body:
            lines = (*lines, f"Content-Length: {len(body)}")
        return self.send(get(target, *lines, method=method) + body).response(method)

    def is_closed(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        self.socket.settimeout(ANSWER_S)
        return self._buffer == b"" and hear(self.socket) == b""


def http_config(port: int, server: Any, timeouts: Mapping[str, str] | None = None, **backend: Any) -> dict[str, Any]:
    """Make the smallest configuration in HTTP mode: one server, and no retries of what a test wants to see fail."""
    config: dict[str, Any] = {
        "frontends": {"web": {"bind": f"127.0.0.1:{port}", "mode": "http", "backend": "app"}},
        "backends": {"app": {"servers": {"s1": server}, **backend}},
    }
    return config if timeouts is None else {**config, "defaults": {"timeouts": timeouts}}
