"""A reactor whose TCP sockets are made otherwise: what it is asked for, what it leaves to the real one."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IReactorFDSet, IReactorSSL, IReactorTCP, IReactorTime
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_lb.endpoints.socket_reactor import SocketReactor
from twisted_lb.errors import ConfigError


class Client(ClientFactory[Protocol]):
    """Remembers whom it met and why it failed."""

    protocol = Protocol
    made: Any = None
    failed: Failure | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.made = Protocol()
        return self.made

    def clientConnectionFailed(self, connector: Any, reason: Failure = connectionDone) -> None:
        self.failed = reason


@pytest.fixture(scope="module")
def reactor() -> SelectReactor:
    """One that is turned by hand."""
    return SelectReactor()


@pytest.fixture
def port(reactor: SelectReactor) -> Iterator[Any]:
    """A port that is open on 127.0.0.1."""
    port: Any = SocketReactor(reactor).listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    yield port
    port.stopListening()
    reactor.iterate(0.01)


def test_it_is_what_the_real_one_is(reactor: SelectReactor) -> None:
    ours = SocketReactor(reactor)
    for interface in (IReactorTCP, IReactorSSL, IReactorTime, IReactorFDSet):
        assert interface.providedBy(ours)
    assert ours.seconds == reactor.seconds


def test_a_client_has_its_source_address(reactor: SelectReactor, port: Any) -> None:
    client = Client()
    connector: Any = SocketReactor(reactor, source="127.0.0.7").connectTCP("127.0.0.1", port.getHost().port, client)
    for _ in range(100):
        if client.made is None:
            reactor.iterate(0.05)
    assert client.made.transport.getHost().host == "127.0.0.7"
    assert connector.getDestination().port == port.getHost().port
    connector.disconnect()
    reactor.iterate(0.01)


def test_a_connection_that_cannot_be_made_so_fails_and_says_why(reactor: SelectReactor, port: Any) -> None:
    client = Client()
    SocketReactor(reactor, source="192.0.2.7").connectTCP("127.0.0.1", port.getHost().port, client)
    for _ in range(100):
        if client.failed is None:
            reactor.iterate(0.05)
    assert client.failed is not None
    assert "cannot connect from 192.0.2.7" in client.failed.getErrorMessage()


def test_an_inner_source_address_is_used_unless_there_is_one_already(reactor: SelectReactor, port: Any) -> None:
    number, client = port.getHost().port, Client()
    connector = SocketReactor(reactor).connectTCP("127.0.0.1", number, client, bindAddress=("127.0.0.9", 0))
    for _ in range(100):
        if client.made is None:
            reactor.iterate(0.05)
    assert client.made.transport.getHost().host == "127.0.0.9"
    connector.disconnect()
    reactor.iterate(0.01)
    with pytest.raises(ConfigError, match="one of the two must go"):
        SocketReactor(reactor, source="127.0.0.7").connectTCP("127.0.0.1", number, Client(), 5, ("127.0.0.9", 0))


def test_a_port_can_be_opened_again_at_once(port: Any) -> None:
    assert port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


@pytest.mark.parametrize("call", ["listenUNIX", "connectUNIX", "listenUDP", "adoptStreamPort", "listenMulticast"])
def test_what_is_neither_tcp_nor_tls_is_refused(reactor: SelectReactor, call: str) -> None:
    with pytest.raises(ConfigError, match="TCP and TLS endpoints only"):
        getattr(SocketReactor(reactor), call)("/run/s", None)


def test_a_reactor_that_cannot_watch_sockets_is_refused() -> None:
    with pytest.raises(ConfigError, match="Clock cannot watch sockets"):
        SocketReactor(Clock())
