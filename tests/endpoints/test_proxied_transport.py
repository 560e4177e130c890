"""The transport behind a header is the real one, but for its addresses and for what came glued to the header."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from zope.interface.verify import verifyObject

from twisted_lb.endpoints.proxied_transport import IProxiedTransport, address_of
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.facts import SocketAddress

if TYPE_CHECKING:
    from tests.endpoints.conftest import Shore

V1 = b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n"

ADDRESSES = [
    (SocketAddress("192.0.2.1", 80), IPv4Address("TCP", "192.0.2.1", 80)),
    (SocketAddress("2001:db8::1", 80), IPv6Address("TCP", "2001:db8::1", 80)),
    (SocketAddress("unix:/run/x.sock"), UNIXAddress(b"/run/x.sock")),
    (SocketAddress("unix:@name"), UNIXAddress(b"\0name")),
    (SocketAddress("unix:"), UNIXAddress(b"")),
]


@pytest.mark.parametrize(("claimed", "address"), ADDRESSES, ids=str)
def test_addresses_of_a_header_become_twisted_s_and_back(claimed: SocketAddress, address: IAddress) -> None:
    assert address_of(claimed) == address
    assert SocketAddress.from_address(address) == claimed


def test_datagrams_have_addresses_of_their_own() -> None:
    assert address_of(SocketAddress("192.0.2.1", 53), datagram=True) == IPv4Address("UDP", "192.0.2.1", 53)


@pytest.fixture
def served(shore: "Shore", witnesses: Any, request: pytest.FixtureRequest) -> Any:
    """The witness at the server's end; what the client sends is ``early``, glued to the header."""
    factory = witnesses()
    ProxyProtocolServerEndpoint(shore.clock, shore).listen(factory)
    shore.send(shore.arrive(), V1)
    return factory.made[0]


def serve(shore: "Shore", witnesses: Any, witness: Any, made: Any, sent: bytes = V1 + b"early") -> Any:
    """Serve with a witness that does ``made(transport)`` when it is connected; returns it."""

    class Doing(witness):  # type: ignore[misc]
        def connectionMade(self) -> None:
            super().connectionMade()
            made(self.transport)

    factory = witnesses(Doing)
    ProxyProtocolServerEndpoint(shore.clock, shore).listen(factory)
    shore.send(shore.arrive(), sent)
    return factory.made[0]


def test_it_provides_what_the_real_one_provides(served: Any) -> None:
    transport = served.transport
    for interface in (IProxiedTransport, ITCPTransport, IConsumer, IPushProducer):
        verifyObject(interface, transport)


def test_all_else_is_the_real_one_s(shore: "Shore", served: Any) -> None:
    real: Any = shore.network.transports[1]
    assert served.transport.disconnecting is False
    assert served.transport.unsent is real.unsent
    with pytest.raises(AttributeError):
        _ = served.transport.nonsense


def test_what_is_written_arrives(shore: "Shore", served: Any) -> None:
    served.transport.write(b"one ")
    served.transport.writeSequence([b"two ", b"three"])
    served.transport.loseConnection()
    shore.network.settle()
    client: Any = shore.network.transports[0].protocol
    assert client.received == b"one two three"
    assert client.seen[-1][1].type.__name__ == "ConnectionDone"


def test_to_abort_resets(shore: "Shore", served: Any) -> None:
    served.transport.abortConnection()
    shore.network.settle()
    client: Any = shore.network.transports[0].protocol
    assert client.seen[-1][1].type.__name__ == "ConnectionLost"


def test_a_producer_is_paused_by_a_slow_client(shore: "Shore", served: Any) -> None:
    class Producer:
        def __init__(self) -> None:
            self.events: list[str] = []

        def pauseProducing(self) -> None:
            self.events.append("pause")

        def resumeProducing(self) -> None:
            self.events.append("resume")

        def stopProducing(self) -> None:
            self.events.append("stop")

    producer = Producer()
    client: Any = shore.network.transports[0]
    client.pauseProducing()
    served.transport.registerProducer(producer, True)
    served.transport.write(bytes(1 << 20))
    shore.network.settle()
    assert producer.events == ["pause"]
    client.resumeProducing()
    shore.network.settle()
    assert producer.events == ["pause", "resume"]
    served.transport.unregisterProducer()


def test_pausing_holds_the_client_back(shore: "Shore", served: Any) -> None:
    client: Any = shore.network.transports[0]
    served.transport.pauseProducing()
    shore.send(client, b"later")
    assert served.received == b""
    served.transport.resumeProducing()
    shore.network.settle()
    assert served.received == b"later"
    served.transport.stopProducing()
    shore.network.settle()
    assert not client.connected


# What came glued to the header


def test_who_pauses_at_once_gets_early_bytes_when_he_resumes_and_before_all_others(
    shore: "Shore", witnesses: Any, witness: Any
) -> None:
    served = serve(shore, witnesses, witness, lambda transport: transport.pauseProducing())
    shore.send(shore.network.transports[0], b" and late")
    assert served.events == ["made"]
    served.transport.resumeProducing()
    assert served.events == ["made"]  # never from within the call
    shore.network.settle()
    assert served.events == ["made"]
    shore.clock.advance(0)
    assert served.received == b"early"
    shore.network.settle()
    assert served.received == b"early and late"


def test_who_pauses_and_resumes_at_once_gets_early_bytes_once(shore: "Shore", witnesses: Any, witness: Any) -> None:
    def both(transport: Any) -> None:
        transport.pauseProducing()
        transport.resumeProducing()

    served = serve(shore, witnesses, witness, both)
    shore.clock.advance(0)
    shore.send(shore.network.transports[0], b" and late")
    assert served.received == b"early and late"
    assert shore.clock.getDelayedCalls() == []


def test_who_resumes_and_pauses_again_still_waits(shore: "Shore", witnesses: Any, witness: Any) -> None:
    served = serve(shore, witnesses, witness, lambda transport: transport.pauseProducing())
    served.transport.resumeProducing()
    served.transport.pauseProducing()
    shore.clock.advance(0)
    shore.send(shore.network.transports[0], b" and late")
    assert served.events == ["made"]
    served.transport.resumeProducing()
    shore.clock.advance(0)
    shore.network.settle()
    assert served.received == b"early and late"


def test_who_pauses_on_early_bytes_gets_no_more(shore: "Shore", witnesses: Any, witness: Any) -> None:
    class Pausing(witness):  # type: ignore[misc]
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.pauseProducing()

    served = serve(shore, witnesses, Pausing, lambda transport: transport.pauseProducing())
    served.transport.resumeProducing()
    shore.clock.advance(0)
    shore.send(shore.network.transports[0], b" and late")
    assert served.received == b"early"


@pytest.mark.parametrize("leave", ["loseConnection", "abortConnection", "stopProducing"])
def test_who_leaves_at_once_gets_nothing(shore: "Shore", witnesses: Any, witness: Any, leave: str) -> None:
    served = serve(shore, witnesses, witness, lambda transport: getattr(transport, leave)())
    shore.network.settle()
    assert served.events == ["made", "lost"]


def test_bytes_of_a_transport_that_does_not_pause_keep_their_order(
    shore: "Shore", witnesses: Any, witness: Any
) -> None:
    # TLS delivers all that it has decrypted, paused or not.
    served = serve(shore, witnesses, witness, lambda transport: transport.pauseProducing())
    receiver: Any = shore.network.transports[1].protocol
    receiver.dataReceived(b" and late")
    assert served.events == ["made"]
    served.transport.resumeProducing()
    shore.clock.advance(0)
    assert served.received == b"early and late"


def test_early_bytes_are_not_lost_with_the_connection(shore: "Shore", witnesses: Any, witness: Any) -> None:
    # A TLS client that says all it has to say and leaves: header, payload and end come in one piece.
    def paused(transport: Any) -> None:
        transport.pauseProducing()

    served = serve(shore, witnesses, witness, paused)
    served.transport.resumeProducing()
    shore.network.transports[0].abortConnection()
    shore.network.transports[1]._lose(ConnectionResetError())
    shore.network.settle()
    assert served.events == ["made", "data", "lost"]
    assert shore.clock.getDelayedCalls() == []


# Handing over


def test_a_protocol_can_be_replaced_by_another(shore: "Shore", served: Any, witness: Any) -> None:
    assert served.transport.protocol is served
    other = witness()
    served.transport.protocol = other
    other.makeConnection(served.transport)
    shore.send(shore.network.transports[0], b"hello")
    assert (served.received, other.received) == (b"", b"hello")
    assert other.seen[0][1][0].host == "192.0.2.10"


def test_an_unconnected_protocol_has_none() -> None:
    assert IProxiedTransport(Protocol().transport, None) is None
