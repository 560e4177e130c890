"""One connection to an HTTP server: who hears what of it, and that it is closed once."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_lb.backends.http_connection import HttpBackend, ServerConnection
from twisted_lb.backends.pool import Server
from twisted_lb.backends.target import SocketTarget
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.testing import MemoryNetwork


class Asker:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def response_data(self, data: bytes) -> None:
        self.heard.append(data)

    def server_ended(self, reason: str, clean: bool) -> None:
        self.heard.append(("ended", clean))

    def server_full(self) -> None:
        self.heard.append("full")

    def server_drained(self) -> None:
        self.heard.append("drained")


class Far:
    """The server's end, which notes how it ended."""

    ended: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None:
        self.ended = reason.type


class Shelf:
    """Notes what it is to forget."""

    def __init__(self) -> None:
        self.forgotten: list[ServerConnection] = []

    def forget(self, connection: ServerConnection) -> None:
        self.forgotten.append(connection)


class Ends:
    """A connection in memory, with somebody who asks."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.far = Far()
        self.asker = Asker()
        self.connection = ServerConnection(Server("a", SocketTarget(socket.AF_INET, ("192.0.2.9", 80))))
        self.network.connect(self.connection, self.far)
        self.connection.asker = self.asker


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_it_is_what_transports_expect(ends: Ends) -> None:
    assert IHalfCloseableProtocol.providedBy(ends.connection)
    assert IPushProducer.providedBy(ends.connection)


def test_who_asks_hears_the_server_and_whether_there_is_room(ends: Ends) -> None:
    ends.far.transport.write(b"HTTP/1.1 200 OK")
    ends.network.settle()
    ends.connection.pauseProducing()
    ends.connection.resumeProducing()
    assert ends.asker.heard == [b"HTTP/1.1 200 OK", "full", "drained"]


@pytest.mark.parametrize("clean", [True, False])
def test_who_asks_hears_of_the_end_once_and_how_it_came(ends: Ends, clean: bool) -> None:
    if clean:
        ends.far.transport.loseConnection()
    else:
        ends.far.transport.abortConnection()
    ends.network.settle()
    assert ends.asker.heard == [("ended", clean)]
    assert ends.connection.transport is None
    ends.connection.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))
    assert len(ends.asker.heard) == 1
    assert ends.far.ended is not None


def test_while_it_is_idle_nobody_hears_and_its_shelf_forgets_it(ends: Ends) -> None:
    shelf = Shelf()
    ends.connection.asker, ends.connection.shelf = None, shelf
    ends.connection.pauseProducing()
    ends.connection.resumeProducing()
    ends.far.transport.loseConnection()
    ends.network.settle()
    assert shelf.forgotten == [ends.connection]
    assert ends.connection.transport is None


def test_what_closes_it_hears_nothing_of_it(ends: Ends) -> None:
    ends.connection.close()
    ends.connection.close()
    ends.network.settle()
    assert ends.asker.heard == []
    assert ends.far.ended is not None


@pytest.fixture
def pair() -> Iterator[tuple[ServerConnection, socket.socket]]:
    """A connection over a stream of ours, and the server's socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = Poller(Clock())
    connection = ServerConnection(Server("a", SocketTarget(socket.AF_UNIX, "/x")))
    stream = Stream(poller, ours)
    stream.attach(connection, half_close=True)
    connection.makeConnection(stream)
    yield connection, theirs
    connection.close()
    theirs.close()
    poller.epoll.close()


@pytest.mark.linux
def test_it_is_stale_when_the_server_has_closed_or_spoken_before_we_are_told(
    pair: tuple[ServerConnection, socket.socket],
) -> None:
    connection, theirs = pair
    assert not connection.stale
    theirs.send(b"x")
    assert connection.stale
    assert connection.stale, "looking takes nothing away"
    assert connection.transport.sock.recv(10) == b"x"
    assert not connection.stale
    theirs.close()
    assert connection.stale
    connection.close()
    assert connection.stale


@pytest.mark.linux
def test_one_that_the_transport_has_closed_is_stale(pair: tuple[ServerConnection, socket.socket]) -> None:
    connection, _ = pair
    connection.transport.abortConnection()
    assert connection.stale


def test_transports_that_cannot_be_asked_are_not_stale_until_they_are_closed(ends: Ends) -> None:
    assert not ends.connection.stale
    ends.connection.close()
    assert ends.connection.stale


def test_http_settings_of_a_backend_have_haproxys_defaults() -> None:
    settings = HttpBackend()
    assert (settings.reuse, settings.server_close, settings.idle_s) == ("safe", False, 5.0)


@pytest.mark.linux
def test_what_was_reported_before_it_was_asked_is_no_answer(pair: tuple[ServerConnection, socket.socket]) -> None:
    connection, theirs = pair
    poller, asker = connection.transport.poller, Asker()
    connection.transport.accepted()
    connection.transport.resumeProducing()
    poller.dispatch([])
    theirs.send(b"stray")
    events = poller.epoll.poll(1)

    class Asks:
        def on_events(self, events: int) -> None:
            assert connection.may_be_asked(replayable=True)
            connection.asker = asker

        def on_crash(self) -> None:
            raise AssertionError

    poller.watchers[-1] = Asks()
    poller.dispatch([(-1, 1), *events])
    assert asker.heard == [("ended", False)]
    assert connection.transport is None


@pytest.mark.linux
@pytest.mark.parametrize("replayable", [False, True])
def test_the_kernel_is_asked_where_events_would_not_tell(
    pair: tuple[ServerConnection, socket.socket], replayable: bool
) -> None:
    connection, theirs = pair
    assert connection.may_be_asked(replayable)
    theirs.send(b"stray")
    assert not connection.may_be_asked(replayable), "no batch is being worked off"


@pytest.mark.linux
def test_who_has_said_more_than_is_read_at_once_is_not_taken_for_silent(
    pair: tuple[ServerConnection, socket.socket],
) -> None:
    connection, theirs = pair
    poller = connection.transport.poller

    class Talks(Asker):
        """The response ends with the last read of this turn, and the server goes on."""

        def response_data(self, data: bytes) -> None:
            super().response_data(data)
            theirs.send(b"more" if len(self.heard) < 16 else b"stray")
            if len(self.heard) == 16:
                connection.asker = None

    may: list[bool] = []

    class Asks:
        def on_events(self, events: int) -> None:
            may.append(connection.may_be_asked(replayable=True))

        def on_crash(self) -> None:
            raise AssertionError

    connection.asker = asker = Talks()
    connection.transport.accepted()
    theirs.send(b"the beginning")
    poller.dispatch(poller.epoll.poll(1))
    connection.transport.resumeProducing()
    poller.again(Asks())
    poller.dispatch([])
    assert (len(asker.heard), may) == (16, [False])
