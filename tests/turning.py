"""A reactor of the test's own, which only the test turns, and a server on it; for what talks over the network.

Imported by tests, runs no test itself.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from twisted_lb.api import Runtime

DEADLINE_S = 10.0


class Turning:
    """``reactor``: Twisted's own, with real sockets and real time. ``runtime``: what plugins are built with."""

    def __init__(self) -> None:
        self.reactor: Any = SelectReactor()
        self.runtime = Runtime(self.reactor, self.reactor)

    def until(self, probe: Callable[[], object], what: str) -> None:
        """Turn until ``probe`` answers something true."""
        deadline = time.monotonic() + DEADLINE_S
        while not probe():
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
            self.reactor.iterate(0.01)

    def settle(self, times: int = 20) -> None:
        """Let everything happen that is on its way."""
        for _ in range(times):
            self.reactor.iterate(0)

    def result(self, answer: Any) -> Any:
        """Wait for the result of what may be a Deferred; a failure is returned as its exception."""
        if not isinstance(answer, Deferred):
            return answer
        results: list[Any] = []
        answer.addBoth(results.append)
        self.until(lambda: results, "an answer")
        return getattr(results[0], "value", results[0])

    def close(self) -> None:
        """Close what is still open, and check that nothing was left to happen but the end of what waits for use."""
        calls = self.reactor.getDelayedCalls()
        left = [call for call in calls if call.func.__qualname__ != "HTTPConnectionPool._removeConnection"]
        self.reactor.removeAll()
        for wakeup in list(self.reactor._internalReaders):
            wakeup.connectionLost(None)
        assert not left, left


class Origin(Factory):
    """An HTTP server of few words. ``answer``: what it says to a request, head and body; ``None``: nothing.

    ``requests``: those that came whole. ``connections``: those that are open; ``accepted``: how many there were.
    """

    noisy = False

    def __init__(self, turning: Turning, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections: list[Protocol] = []
        self.accepted = 0
        self._port = turning.reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self._port.getHost().port
        self.url = f"http://127.0.0.1:{self.port}/auth"

    def buildProtocol(self, addr: Any) -> Any:
        """See ``IProtocolFactory``."""
        self.accepted += 1
        return _Conversation(self)

    def close(self) -> None:
        """Listen no more, and hang up."""
        self._port.stopListening()
        for one in list(self.connections):
            one.transport.abortConnection()  # type: ignore[union-attr]


class _Conversation(Protocol):
    """One connection to an ``Origin``."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._heard = b""

    def connectionMade(self) -> None:
        """See ``IProtocol``."""
        self._origin.connections.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        self._origin.connections.remove(self)

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            head = self._heard.partition(b"\r\n\r\n")[0]
            found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            end = len(head) + 4 + (int(found[1]) if found else 0)
            if len(self._heard) < end:
                return
            request, self._heard = self._heard[:end], self._heard[end:]
            self._origin.requests.append(request)
            answer = self._origin.answer(request)
            if answer is not None:
                self.transport.write(answer)  # type: ignore[union-attr]
                if b"\r\nconnection: close\r\n" in answer.lower():
                    self.transport.loseConnection()  # type: ignore[union-attr]


def says(status: int = 200, body: bytes = b"", *fields: str) -> bytes:
    """A whole response."""
    return "\r\n".join([f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", *fields, "", ""]).encode() + body


@pytest.fixture
def turning() -> Iterator[Turning]:
    """A reactor that the test turns."""
    made = Turning()
    yield made
    made.close()
