"""One header, in one write, before everything else; then the connection is the protocol's."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import HostnameAddress, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol

from twisted_lb.endpoints.proxy_protocol_client import ProxyProtocolClientEndpoint
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.errors import ConfigError, WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.testing import MemoryTransport
from twisted_lb.wire.proxy_header import Tlv, TlvType

if TYPE_CHECKING:
    from tests.endpoints.conftest import Shore

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
SOURCE, DESTINATION = SocketAddress("192.0.2.10", 56324), SocketAddress("198.51.100.20", 443)


class Talker(Protocol):
    """Says something at once."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


def connect(shore: "Shore", factory: Any = None, **options: Any) -> tuple[Any, bytes]:
    """Connect; returns what ``connect`` gave and what the server got."""
    got: list[Any] = []
    endpoint = ProxyProtocolClientEndpoint(shore, **options)
    endpoint.connect(factory or Factory.forProtocol(Talker)).addBoth(got.append)
    shore.network.settle()
    return got[0], shore.far[-1].received


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({}, SIGNATURE + bytes.fromhex("2111000cc0000201c000020200010001")),
        ({"version": "v1"}, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1\r\n"),
        (
            {"source": SOURCE, "destination": DESTINATION},
            SIGNATURE + bytes.fromhex("2111000cc000020ac6336414dc0401bb"),
        ),
        (
            {"version": "v1", "source": SOURCE, "destination": DESTINATION},
            b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n",
        ),
        ({"version": "v1", "source": SOURCE}, b"PROXY TCP4 192.0.2.10 192.0.2.2 56324 1\r\n"),
        (
            {"version": "v1", "source": SocketAddress("2001:db8::1", 1)},
            b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 1\r\n",
        ),
        ({"local": True}, SIGNATURE + b"\x20\0\0\0"),
        ({"version": "v1", "local": True}, b"PROXY UNKNOWN\r\n"),
        (
            {"source": SOURCE, "destination": DESTINATION, "tlvs": [Tlv(TlvType.CRC32C, b"")]},
            SIGNATURE + bytes.fromhex("21110013c000020ac6336414dc0401bb03000404fcfa2e"),
        ),
    ],
    ids=str,
)
def test_the_header_comes_first(shore: "Shore", options: dict[str, Any], header: bytes) -> None:
    protocol, received = connect(shore, **options)
    assert received == header + b"hello"
    assert isinstance(protocol, Talker)


def test_the_header_is_one_write(shore: "Shore", monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(MemoryTransport, "write", lambda self, data: written.append(data))
    ProxyProtocolClientEndpoint(shore, version="v1").connect(Factory.forProtocol(Talker))
    assert written == [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1\r\n", b"hello"]


@pytest.mark.parametrize(
    ("address", "header"),
    [(UNIXAddress(b"/run/x"), b"PROXY UNKNOWN\r\n"), (HostnameAddress(b"a", 1), b"PROXY UNKNOWN\r\n")],
    ids=str,
)
def test_a_connection_without_ip_addresses_claims_none(
    shore: "Shore", monkeypatch: pytest.MonkeyPatch, address: Any, header: bytes
) -> None:
    monkeypatch.setattr(MemoryTransport, "getHost", lambda self: address)
    assert connect(shore, version="v1")[1] == header + b"hello"
    monkeypatch.setattr(MemoryTransport, "getPeer", lambda self: address)
    assert connect(shore, version="v1")[1] == header + b"hello"


def test_a_codec_gets_both_addresses_or_none(shore: "Shore", monkeypatch: pytest.MonkeyPatch) -> None:
    headers: list[Any] = []

    def encode(_: object, header: Any) -> bytes:
        headers.append(header)
        return b"header"

    monkeypatch.setattr("twisted_lb_plugins.proxy_header_v1.ProxyV1.encode", encode)
    connect(shore, version="v1")
    monkeypatch.setattr(MemoryTransport, "getHost", lambda self: HostnameAddress(b"a", 1))
    connect(shore, version="v1")
    pairs = [(header.source, header.destination) for header in headers]
    assert pairs[1] == (("192.0.2.1", 1), ("192.0.2.2", 1))
    assert pairs[3] == (None, None)


def test_what_the_server_says_arrives(shore: "Shore", witnesses: Any) -> None:
    factory = witnesses()
    protocol, _ = connect(shore, factory)
    assert protocol is factory.made[0]
    far: Any = shore.far[0].transport
    far.write(b"welcome")
    far.loseConnection()
    shore.network.settle()
    assert protocol.events == ["made", "data", "lost"]
    assert protocol.received == b"welcome"


def test_half_close_passes_through(shore: "Shore", witnesses: Any, half_closeable: Any) -> None:
    protocol, _ = connect(shore, witnesses(half_closeable))
    far: Any = shore.far[0].transport
    far.loseWriteConnection()
    shore.network.settle()
    assert protocol.events == ["made", "read lost"]


def test_the_transport_is_the_real_one(shore: "Shore", witnesses: Any) -> None:
    protocol, _ = connect(shore, witnesses(), source=SOURCE)
    assert protocol.transport is shore.network.transports[0]


def test_a_connection_that_fails_fails(shore: "Shore", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shore, "connect", lambda factory: fail(ConnectionRefusedError()))
    got: list[Any] = []
    ProxyProtocolClientEndpoint(shore).connect(Factory()).addErrback(got.append)
    assert got[0].check(ConnectionRefusedError)


def test_a_connection_can_be_given_up(shore: "Shore", monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[Any] = []
    monkeypatch.setattr(shore, "connect", lambda factory: Deferred(cancelled.append))
    connecting = ProxyProtocolClientEndpoint(shore).connect(Factory())
    connecting.addErrback(lambda failure: None)
    connecting.cancel()
    assert len(cancelled) == 1


def test_a_factory_that_wants_no_connection_makes_none(shore: "Shore", monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    def connect(factory: Any) -> "Deferred[Any]":
        asked.append(factory)
        return Deferred()

    asked: list[Any] = []
    monkeypatch.setattr(shore, "connect", connect)
    ProxyProtocolClientEndpoint(shore).connect(Closed())
    assert asked[0].buildProtocol(None) is None


def test_a_header_that_cannot_be_made_fails_the_connection(
    shore: "Shore", witnesses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object) -> bytes:
        raise WireError("no-way")

    endpoint = ProxyProtocolClientEndpoint(shore, version="v1")
    monkeypatch.setattr("twisted_lb_plugins.proxy_header_v1.ProxyV1.encode", encode)
    got: list[Any] = []
    factory = witnesses()
    endpoint.connect(factory).addErrback(got.append)
    shore.network.settle()
    assert got[0].check(WireError)
    assert shore.far[0].events == ["made", "lost"]
    assert factory.made[0].events == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"version": "v3"}, '"v3"'),
        ({"local": True, "source": SOURCE}, '"local" cannot'),
        ({"source": SocketAddress("192.0.2.1", 65536)}, "port"),
        ({"tlvs": [Tlv(4, bytes(65536))]}, "no PROXY header can say this"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_options_that_make_no_sense_are_refused(shore: "Shore", options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ProxyProtocolClientEndpoint(shore, **options)
    assert text in str(raised.value)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_our_client_and_our_server_understand_each_other(shore: "Shore", witnesses: Any, version: str) -> None:
    served = witnesses()
    ProxyProtocolServerEndpoint(shore.clock, shore).listen(served)

    class Across:
        def connect(self, factory: Any) -> "Deferred[Any]":
            protocol = factory.buildProtocol(None)
            shore.arrive(protocol)
            return succeed(protocol)

    endpoint: Any = ProxyProtocolClientEndpoint(Across(), version=version, source=SOURCE, destination=DESTINATION)  # type: ignore[arg-type]
    endpoint.connect(Factory.forProtocol(Talker))
    shore.network.settle()
    (made,) = served.made
    assert [(address.host, address.port) for address in made.seen[0][1]] == [SOURCE, DESTINATION]
    assert made.received == b"hello"
