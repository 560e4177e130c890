"""A server that notes the PROXY header that each connection begins with; imported by tests, runs no test itself."""

import socket
from dataclasses import dataclass

from tests.interop import headers
from tests.loopback.conftest import wait_until
from tests.loopback.servers import Server

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard"


@dataclass(frozen=True)
class Seen:
    """One connection: its header, as ``raw`` bytes and as what they say, and the first bytes that came after it."""

    raw: bytes
    header: headers.Header
    payload: bytes


class Recorder(Server):
    """A server that reads a header, then something of what follows it, answers as a web server would, and closes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        super().__init__(self._record)

    def _record(self, client: socket.socket) -> None:
        client.settimeout(10)
        buffer = b""
        while (size := headers.length(buffer)) is None or len(buffer) <= size:
            data = client.recv(65536)
            if not data:
                break
            buffer += data
        if size is not None:
            self.seen.append(Seen(buffer[:size], headers.read(buffer[:size]), buffer[size:]))
        client.sendall(ANSWER)

    def wait_for_payload(self, payload: bytes) -> Seen:
        """Wait until a connection brought ``payload``, which no other brings."""
        wait_until(lambda: self._find(payload), f"a connection that brings {payload!r}, seen: {self.seen}")
        found = self._find(payload)
        assert found is not None
        return found

    def _find(self, payload: bytes) -> Seen | None:
        return next((one for one in self.seen if payload in one.payload), None)
