"""A tunnel over each kind of transport, without a session; with one in ``tests/http_sessions/test_tunnels.py``."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.endings import Cause
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.tunnel import Tunnel


class Pair:
    """A client and a server that are connected by a tunnel; the test holds their other ends."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(self.clock)
        self.wheel = TimerWheel(self.clock)
        self.ended: list[tuple[Cause, str]] = []
        idle = IdleTimers(5.0, 5.0, 5.0, 5.0, 5.0)
        self.tunnel = Tunnel(SimpleNamespace(tunnel_ended=self._ended), self.clock, self.wheel, idle)
        self.client, self.server = self._stream(), self._stream()
        self.stream = self.client[0]
        self.connection = ServerConnection(SimpleNamespace())  # type: ignore[arg-type]
        self.server[0].attach(self.connection, half_close=True)
        self.connection.makeConnection(self.server[0])
        self.stream.attach(self, half_close=True)
        producer: Any = SimpleNamespace(pauseProducing=int, resumeProducing=int)
        self.stream.registerProducer(producer, True)

    def _ended(self, cause: Cause, reason: str) -> None:
        self.ended.append((cause, reason))

    def _stream(self) -> tuple[Stream, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        stream = Stream(self.poller, ours)
        stream.accepted()
        return stream, theirs

    # What the session passes on while its client's stream is not taken over.

    def dataReceived(self, data: bytes) -> None:
        self.tunnel.client_data(data)

    def readConnectionLost(self) -> None:
        self.tunnel.client_ended()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        self.tunnel.client_lost(reason)

    def start(self, to_client: bytes = b"", to_server: bytes = b"") -> None:
        self.tunnel.start(self.stream, self.connection, to_client, to_server)

    def turn(self) -> None:
        for _ in range(20):
            self.poller.dispatch(self.poller.epoll.poll(0))

    def heard(self, theirs: socket.socket) -> bytes:
        self.turn()
        data = b""
        try:
            while more := theirs.recv(1 << 20):
                data += more
                self.turn()
        except BlockingIOError:
            pass
        return data

    def close(self) -> None:
        if not self.ended:
            self.tunnel.end(Cause.KILLED, "the test is over")
        self.turn()
        self.client[1].close()
        self.server[1].close()
        self.poller.epoll.close()


@pytest.fixture
def pair() -> Any:
    made = Pair()
    yield made
    made.close()
    assert len(made.wheel) == 0
    assert len(made.poller) == 0


def test_streams_are_relayed_socket_to_socket(pair: Pair) -> None:
    pair.start(b"head", b"early")
    assert isinstance(pair.tunnel.relay, StreamRelay)
    assert pair.heard(pair.client[1]) == b"head"
    assert pair.heard(pair.server[1]) == b"early"
    pair.client[1].sendall(b"up")
    pair.server[1].sendall(b"down")
    assert pair.heard(pair.server[1]) == b"up"
    assert pair.heard(pair.client[1]) == b"down"
    assert pair.tunnel.bytes() == (7, 4)


def test_what_a_stream_has_not_sent_yet_comes_first(pair: Pair) -> None:
    before = b"x" * 1_000_000
    pair.stream.write(before)
    pair.start(b"head")
    assert isinstance(pair.tunnel.relay, TransportRelay)
    assert pair.heard(pair.client[1]) == before + b"head"
    pair.client[1].sendall(b"up")
    assert pair.heard(pair.server[1]) == b"up"
    pair.server[1].sendall(b"down")
    assert pair.heard(pair.client[1]) == b"down"


@pytest.mark.parametrize("unsent", [False, True], ids=["streams", "transports"])
def test_both_ends_end_it(pair: Pair, unsent: bool) -> None:
    if unsent:
        pair.stream.write(b"x" * 1_000_000)
    pair.start()
    pair.heard(pair.client[1])
    pair.client[1].shutdown(socket.SHUT_WR)
    pair.turn()
    assert pair.server[1].recv(10) == b""
    assert pair.ended == []
    pair.server[1].shutdown(socket.SHUT_WR)
    pair.turn()
    assert pair.ended == [(Cause.NORMAL, "")]


def test_who_is_idle_for_too_long_ends_it(pair: Pair) -> None:
    pair.start()
    pair.clock.advance(4.9)
    assert pair.ended == []
    pair.clock.advance(1.0)
    assert [cause for cause, _ in pair.ended] == [Cause.CLIENT_TIMEOUT]


def test_a_client_that_is_gone_already_ends_it_at_once(pair: Pair) -> None:
    pair.client[1].close()
    pair.start(b"head", b"early")
    pair.turn()
    assert [cause for cause, _ in pair.ended] == [Cause.CLIENT]
    pair.tunnel.forget()
    assert pair.tunnel.bytes() == (0, 0)
