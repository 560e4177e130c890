"""Nothing is heard before the header is whole and valid, and then everything is as if the client had come directly."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IHandshakeListener, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from zope.interface import alsoProvides, implementer

from twisted_lb.endpoints.proxied_transport import IProxiedTransport
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.errors import ConfigError
from twisted_lb.testing import MemoryTransport

if TYPE_CHECKING:
    from tests.endpoints.conftest import Shore

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V1 = b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n"
V2 = SIGNATURE + bytes.fromhex("2111000cc000020ac6336414dc0401bb")
V2_TLV = SIGNATURE + bytes.fromhex("21110013c000020ac6336414dc0401bb03000404fcfa2e")
V2_UNIX = SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/client".ljust(108, b"\0") + b"\0name".ljust(108, b"\0")
CLIENT, SERVER = IPv4Address("TCP", "192.0.2.10", 56324), IPv4Address("TCP", "198.51.100.20", 443)
REAL_CLIENT, REAL_SERVER = IPv4Address("TCP", "192.0.2.1", 1), IPv4Address("TCP", "192.0.2.2", 1)
HEADERS = {"v1": V1, "v2": V2, "v2 with a checksum": V2_TLV}


@pytest.fixture
def factory(witnesses: Any) -> Any:
    return witnesses()


def listen(shore: "Shore", factory: Any, **options: Any) -> None:
    ProxyProtocolServerEndpoint(shore.clock, shore, **options).listen(factory)


# Whole, in pieces, and with something behind it


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_claimed_addresses_are_there_when_the_connection_is_made(
    shore: "Shore", factory: Any, header: bytes
) -> None:
    listen(shore, factory)
    client = shore.arrive()
    assert factory.made == []
    shore.send(client, header)
    assert factory.asked == [CLIENT]
    assert factory.made[0].seen == [("made", (CLIENT, SERVER))]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("payload", [b"", b"x", b"hello" * 1000], ids=len)
def test_a_header_in_any_two_pieces_gives_what_it_gives_in_one(
    shore: "Shore", factory: Any, header: bytes, payload: bytes
) -> None:
    listen(shore, factory)
    stream = header + payload
    for cut in range(1, min(len(stream), len(header) + 3)):
        client = shore.arrive()
        shore.send(client, stream[:cut])
        assert len(factory.made) == (cut >= len(header))
        shore.send(client, stream[cut:])
        (made,) = factory.made
        assert made.seen[0] == ("made", (CLIENT, SERVER))
        assert made.received == payload
        factory.made.clear()


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_byte_by_byte_gives_what_it_gives_in_one(shore: "Shore", factory: Any, header: bytes) -> None:
    listen(shore, factory)
    client = shore.arrive()
    for place in range(len(header)):
        assert factory.made == []
        shore.send(client, header[place : place + 1])
    shore.send(client, b"hello")
    assert factory.made[0].seen == [("made", (CLIENT, SERVER)), ("data", b"hello")]


def test_a_second_header_is_the_client_s_bytes(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), V2 + V1)
    assert factory.made[0].received == V1


def test_nothing_is_sent_before_the_header(shore: "Shore", witness: Any) -> None:
    class Greeter(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"220 welcome\r\n")

    listen(shore, Factory.forProtocol(Greeter))
    client = shore.arrive(told := witness())
    shore.send(client, V1[:-1])
    assert told.received == b""
    shore.send(client, V1[-1:])
    assert told.received == b"220 welcome\r\n"


# Addresses


def test_unix_addresses(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), V2_UNIX)
    assert factory.made[0].seen[0] == ("made", (UNIXAddress(b"/run/client"), UNIXAddress(b"\0name")))


def test_ipv6_addresses(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), b"PROXY TCP6 2001:DB8:0::1 ::ffff:192.0.2.1 1 65535\r\n")
    expected = IPv6Address("TCP", "2001:db8::1", 1), IPv6Address("TCP", "::ffff:192.0.2.1", 65535)
    assert factory.made[0].seen[0] == ("made", expected)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ff 1 2 3\r\n",
        SIGNATURE + b"\x20\0\0\0",
        SIGNATURE + b"\x20\x11\0\x0c" + bytes(12),
    ],
    ids=["v1", "v1 with more", "v2 local", "v2 local with addresses"],
)
def test_a_header_without_addresses_leaves_the_real_ones(shore: "Shore", factory: Any, header: bytes) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), header + b"hello")
    assert factory.asked == [REAL_CLIENT]
    assert factory.made[0].seen == [("made", (REAL_CLIENT, REAL_SERVER)), ("data", b"hello")]


def test_the_whole_header_is_at_hand(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), V2_TLV)
    transport: Any = IProxiedTransport(factory.made[0].transport)
    header = transport.getProxyHeader()
    assert header.source == ("192.0.2.10", 56324)
    assert header.tlvs == ((3, bytes.fromhex("04fcfa2e")),)
    assert transport.getRealPeer() == REAL_CLIENT
    assert transport.getRealHost() == REAL_SERVER


# What is refused

BROKEN = {
    "an HTTP request": (b"GET / HTTP/1.1\r\n", "proxy-not-a-header"),
    "TLS": (b"\x16\x03\x01\x02\0", "proxy-not-a-header"),
    "a family that there is not": (b"PROXY TCP5 ", "proxy-v1-family"),
    "an address that cannot be": (b"PROXY TCP4 999.1.1.1 192.0.2.1 1 2\r\n", "proxy-v1-address"),
    "a port that cannot be": (b"PROXY TCP4 192.0.2.1 192.0.2.1 1 99999\r\n", "proxy-v1-port"),
    "a wrong checksum": (V2_TLV[:-1] + b"\0", "proxy-v2"),
    "a command that there is not": (SIGNATURE + b"\x22\x11\0\x0c" + bytes(12), "proxy-v2"),
}


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_header_ends_the_connection_at_once(
    shore: "Shore", factory: Any, witness: Any, log: list[str], data: bytes, reason: str
) -> None:
    listen(shore, factory)
    client = shore.arrive(told := witness())
    shore.send(client, data + b"and more")
    assert factory.asked == []
    assert told.events == ["made", "lost"]
    assert told.seen[-1][1].type.__name__ == "ConnectionLost"  # it was reset
    (line,) = (line for line in log if "refused" in line)
    assert line.startswith("warn: connection from IPv4Address(type='TCP', host='192.0.2.1', port=1) refused: ")
    assert reason in line


def test_the_log_shows_the_first_bytes_escaped(shore: "Shore", factory: Any, log: list[str]) -> None:
    listen(shore, factory)
    shore.send(shore.arrive(), b"\x16\x03\x01\n\x1b[31m" + bytes(200))
    (line,) = (line for line in log if "refused" in line)
    assert r"\x16\x03\x01\n\x1b[31m" in line
    assert "\x1b" not in line
    assert len(line) < 400


def test_a_version_that_is_not_wanted_is_no_header(shore: "Shore", factory: Any) -> None:
    listen(shore, factory, versions=["v1"])
    shore.send(shore.arrive(), V2)
    assert factory.asked == []
    shore.send(shore.arrive(), V1)
    assert factory.asked == [CLIENT]


@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "announced"])
def test_a_header_that_is_too_long_is_refused(shore: "Shore", factory: Any, witness: Any, whole: bool) -> None:
    listen(shore, factory, max_header=232)
    header = SIGNATURE + b"\x21\x11" + (12 + 3 + 250).to_bytes(2) + V2[16:] + b"\x04\0\xfa" + bytes(250)
    client = shore.arrive(told := witness())
    shore.send(client, header if whole else header[:16])
    assert told.events == ["made", "lost"]
    assert factory.asked == []


def test_bytes_after_a_refusal_are_not_looked_at(shore: "Shore", factory: Any, log: list[str]) -> None:
    listen(shore, factory)
    shore.arrive()
    receiver = shore.network.transports[1].protocol
    receiver.dataReceived(b"GET")
    receiver.dataReceived(V1)
    assert shore.clock.getDelayedCalls() == []
    shore.network.settle()
    assert factory.asked == []
    assert len([line for line in log if "PROXY" in line or "refused" in line]) == 1


def test_a_codec_that_fails_ends_that_connection(
    shore: "Shore", factory: Any, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(shore, factory)
    client = shore.arrive()
    monkeypatch.setattr("twisted_lb_plugins.proxy_header_v1.ProxyV1.decode", lambda *_: 1 / 0)
    shore.send(client, V1)
    assert factory.asked == []
    assert any(line.startswith("critical") and "a PROXY codec failed" in line for line in log)
    assert not client.connected


# Time


def test_a_silent_sender_is_gone_at_the_deadline(shore: "Shore", factory: Any, witness: Any, log: list[str]) -> None:
    listen(shore, factory, timeout_s=5)
    shore.arrive(told := witness())
    shore.clock.advance(4.9)
    shore.network.settle()
    assert told.events == ["made"]
    shore.clock.advance(0.2)
    shore.network.settle()
    assert told.events == ["made", "lost"]
    assert any("no whole PROXY header after 5 s, but nothing" in line for line in log)


def test_a_byte_now_and_then_does_not_put_the_deadline_off(shore: "Shore", factory: Any, log: list[str]) -> None:
    listen(shore, factory)
    client = shore.arrive()
    for place in range(3):
        shore.send(client, V1[place : place + 1])
        shore.clock.advance(1)
    shore.network.settle()
    assert not client.connected
    assert factory.asked == []
    assert any("after 3 s, but 3 bytes" in line for line in log)


@pytest.mark.parametrize("end", ["header", "malformed", "left"])
def test_no_timer_is_left_behind(shore: "Shore", factory: Any, end: str) -> None:
    listen(shore, factory)
    client = shore.arrive()
    if end == "left":
        client.loseConnection()
    shore.send(client, V1 if end == "header" else b"GET" if end == "malformed" else b"")
    assert shore.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("sent", "level"), [(b"", "debug"), (V1[:9], "info")], ids=["nothing", "something"])
def test_a_sender_that_leaves_early_is_logged(
    shore: "Shore", factory: Any, log: list[str], sent: bytes, level: str
) -> None:
    listen(shore, factory)
    client = shore.arrive()
    client.write(sent)
    client.loseConnection()
    shore.network.settle()
    assert factory.asked == []
    assert any(f"closed after {len(sent)} bytes of a PROXY header" in line and line.startswith(level) for line in log)


# Who must send one


def test_those_in_from_must_send_a_header(shore: "Shore", factory: Any) -> None:
    listen(shore, factory, from_=["192.0.2.0/24"])
    shore.send(shore.arrive(), b"GET / HTTP/1.1\r\n")
    shore.send(shore.arrive(), V1)
    assert factory.asked == [CLIENT]


def test_others_are_refused(shore: "Shore", factory: Any, witness: Any, log: list[str]) -> None:
    listen(shore, factory, from_=["192.0.2.2", "::1"])
    client = shore.arrive(told := witness())
    shore.send(client, V1)
    assert factory.asked == []
    assert told.events == ["made", "lost"]
    assert any("refused: such sources are not served" in line for line in log)


@pytest.mark.parametrize("data", [V1 + b"hello", b"hello"], ids=["a header", "none"])
def test_others_can_be_served_directly_and_their_bytes_are_theirs(shore: "Shore", factory: Any, data: bytes) -> None:
    listen(shore, factory, from_=["10.0.0.0/8"], others="direct")
    client = shore.arrive()
    assert factory.asked == [REAL_CLIENT]
    assert shore.clock.getDelayedCalls() == []
    shore.send(client, data)
    assert factory.made[0].seen == [("made", (REAL_CLIENT, REAL_SERVER)), ("data", data)]
    assert IProxiedTransport(factory.made[0].transport).getProxyHeader() is None


@pytest.mark.parametrize(("sources", "served"), [(["unix"], True), (["192.0.2.0/24"], False)])
def test_clients_of_a_unix_socket_are_called_unix(
    shore: "Shore", factory: Any, monkeypatch: pytest.MonkeyPatch, sources: list[str], served: bool
) -> None:
    monkeypatch.setattr(MemoryTransport, "getPeer", lambda self: UNIXAddress(b""))
    listen(shore, factory, from_=sources)
    shore.send(shore.arrive(), V1)
    assert factory.asked == ([CLIENT] if served else [])


BAD_OPTIONS = [
    ({"others": "direct"}, '"others" needs "from"'),
    ({"from_": ["::1"], "others": "maybe"}, '"maybe" is neither'),
    ({"from_": ["10.0.0.1/8"]}, "10.0.0.1/8"),
    ({"versions": []}, "at least one"),
    ({"versions": ["v3"]}, '"v3"'),
    ({"timeout_s": 0}, "timeout: 0"),
    ({"timeout_s": float("nan")}, "timeout: nan"),
    ({"max_header": 231}, "max_header: 231"),
]


@pytest.mark.parametrize(("options", "text"), BAD_OPTIONS, ids=lambda one: None if isinstance(one, str) else str(one))
def test_options_that_make_no_sense_are_refused(shore: "Shore", options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ProxyProtocolServerEndpoint(shore.clock, shore, **options)
    assert text in str(raised.value)


# What else a transport tells its protocol


def test_the_end_of_the_connection_is_passed_on(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    client = shore.arrive()
    shore.send(client, V1)
    client.loseConnection()
    shore.network.settle()
    assert factory.made[0].events == ["made", "lost"]


def test_half_close_passes_through(shore: "Shore", witnesses: Any, half_closeable: Any) -> None:
    factory = witnesses(half_closeable)
    listen(shore, factory)
    client = shore.arrive(told := half_closeable())
    shore.send(client, V1 + b"question")
    client.loseWriteConnection()
    shore.network.settle()
    (made,) = factory.made
    assert made.events == ["made", "data", "read lost"]
    made.transport.write(b"answer")
    made.transport.loseWriteConnection()
    shore.network.settle()
    assert told.received == b"answer"
    assert made.events == ["made", "data", "read lost", "write lost", "lost"]


def test_a_sender_that_half_closes_before_its_header_is_whole_is_gone(
    shore: "Shore", witnesses: Any, half_closeable: Any
) -> None:
    factory = witnesses(half_closeable)
    listen(shore, factory)
    client = shore.arrive(told := half_closeable())
    client.write(V1[:-2])
    client.loseWriteConnection()
    shore.network.settle()
    assert factory.asked == []
    assert told.events[-1] == "lost"


def test_a_factory_that_wants_nobody_ends_the_connection(shore: "Shore", witness: Any) -> None:
    class Closed(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    listen(shore, Closed())
    client = shore.arrive(told := witness())
    shore.send(client, V1)
    assert told.events == ["made", "lost"]


def test_a_factory_that_raises_ends_the_connection(shore: "Shore", witness: Any, log: list[str]) -> None:
    class Broken(Factory):
        def buildProtocol(self, addr: Any) -> None:
            raise RuntimeError("no room")

    listen(shore, Broken())
    client = shore.arrive(told := witness())
    shore.send(client, V1)
    assert told.events == ["made", "lost"]
    assert any("no protocol for" in line for line in log)


def test_a_handshake_below_is_told_when_there_is_somebody_to_tell(shore: "Shore", witnesses: Any, witness: Any) -> None:
    @implementer(IHandshakeListener)
    class Listener(witness):  # type: ignore[misc]
        def handshakeCompleted(self) -> None:
            self.seen.append(("handshake", None))

    factory = witnesses(Listener)
    listen(shore, factory)
    client = shore.arrive()
    receiver = shore.network.transports[1].protocol
    assert IHandshakeListener.providedBy(receiver)
    receiver.handshakeCompleted()
    shore.send(client, V1 + b"hello")
    assert factory.made[0].events == ["made", "handshake", "data"]


def test_a_handshake_is_no_matter_for_those_who_do_not_listen(shore: "Shore", factory: Any) -> None:
    listen(shore, factory)
    client = shore.arrive()
    shore.send(client, V1)
    shore.network.transports[1].protocol.handshakeCompleted()
    assert factory.made[0].events == ["made"]


def test_the_factory_below_offers_the_protocols_of_the_one_above(shore: "Shore") -> None:
    class Offering(Factory):
        def acceptableProtocols(self) -> list[bytes]:
            return [b"h2"]

    factory = Offering()
    listen(shore, factory)
    assert not IProtocolNegotiationFactory.providedBy(shore.factory)
    alsoProvides(factory, IProtocolNegotiationFactory)
    listen(shore, factory)
    assert IProtocolNegotiationFactory.providedBy(shore.factory)
    assert shore.factory.acceptableProtocols() == [b"h2"]


def test_listening_gives_the_port(shore: "Shore", factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    port = object()
    monkeypatch.setattr(shore, "listen", lambda factory: succeed(port))
    got: list[Any] = []
    ProxyProtocolServerEndpoint(shore.clock, shore).listen(factory).addCallback(got.append)
    assert got == [port]
