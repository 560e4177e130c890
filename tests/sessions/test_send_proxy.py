"""Sending PROXY headers: the server gets one before anything else, once, on whichever attempt succeeds."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from twisted_lb.api import ALLOW, NeedMore, ProxyHeader, SocketAddress, Tlv, WireError
from twisted_lb.config.proxy_header import SendProxy
from twisted_lb.config.tlvs import forwarded_types, own_tlvs
from twisted_lb.plugin_host import Built
from twisted_lb.stages.proxy_header import Reception, Sender, Trust
from twisted_lb_plugins.proxy_header_v1 import ProxyV1
from twisted_lb_plugins.proxy_header_v2 import ProxyV2

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, Upstream, World

CODECS: dict[str, Built[Any]] = {
    "v1": Built("proxy_header_v1", "v1", ProxyV1()),
    "v2": Built("proxy_header_v2", "v2", ProxyV2()),
}
SENT = {
    "v1": b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x9c\x40\0\x50",
}
SAID = b"hello, server"

each_version = pytest.mark.parametrize("version", SENT)


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


def sender(version: str, **settings: Any) -> Sender:
    send = SendProxy(version=version, **settings)
    return Sender(CODECS[version], own_tlvs(send), forwarded_types(send))


def upstream_of(
    world: "World", version: str, name: str = "a", behaviour: str = "accept", **settings: Any
) -> "Upstream":
    """A server with ``send_proxy``."""
    upstream = world.upstream(name, behaviour)
    upstream.server.sender = sender(version, **settings)
    return upstream


def client_of(world: "World", upstream: "Upstream", **options: Any) -> "Peer":
    return world.client(world.frontend(world.backend(upstream)), **options)


def reception() -> Reception:
    return Reception(list(CODECS.values()), None, Trust.REFUSED, 3.0, 4096)


@each_version
def test_a_server_gets_the_header_before_the_clients_bytes(world: "World", version: str) -> None:
    upstream = upstream_of(world, version)
    client = client_of(world, upstream)
    client.send(SAID)
    (served,) = upstream.peers
    served.send(b"answer")
    assert served.read() == SENT[version] + SAID
    assert client.read() == b"answer"
    world.end(client, served)
    (record,) = world.records
    assert record.ending == "--"
    assert (record.bytes_in, record.bytes_out) == (len(SAID), len(b"answer")), "the header was counted"


@each_version
def test_a_server_gets_the_header_although_the_client_says_nothing(world: "World", version: str) -> None:
    upstream = upstream_of(world, version)
    client = client_of(world, upstream)
    assert upstream.peers[0].read() == SENT[version]
    world.end(client, upstream.peers[0])
    assert world.records[0].bytes_in == 0


@each_version
def test_what_validators_looked_at_follows_the_header(world: "World", version: str) -> None:
    upstream = upstream_of(world, version)
    validator = SimpleNamespace(validate=lambda data, facts: ALLOW if len(data) > 4 else NeedMore(5))
    client = world.client(world.frontend(world.backend(upstream), validators=[validator]))
    client.send(SAID[:3])
    assert upstream.peers == []
    client.send(SAID[3:])
    assert upstream.peers[0].read() == SENT[version] + SAID
    world.end(client, upstream.peers[0])
    assert world.records[0].bytes_in == len(SAID)


@each_version
def test_a_client_that_said_all_before_the_server_was_there(world: "World", version: str) -> None:
    upstream = upstream_of(world, version)
    validator = SimpleNamespace(validate=lambda data, facts: ALLOW)
    client = world.client(world.frontend(world.backend(upstream), validators=[validator]))
    client.send(SAID)
    client.finish()
    assert upstream.peers[0].read() == SENT[version] + SAID
    assert upstream.peers[0].ended()
    upstream.peers[0].finish()
    assert world.endings() == ["--"]


def test_a_server_without_it_gets_none(world: "World") -> None:
    upstream = world.upstream()
    client = client_of(world, upstream)
    client.send(SAID)
    assert upstream.peers[0].read() == SAID
    world.end(client, upstream.peers[0])


@each_version
@pytest.mark.parametrize("received", SENT)
def test_what_was_received_is_passed_on_in_the_servers_version(world: "World", received: str, version: str) -> None:
    upstream = upstream_of(world, version)
    client = client_of(world, upstream, reception=reception(), source=SocketAddress("10.0.0.1", 999))
    client.send(SENT[received] + SAID)
    assert upstream.peers[0].read() == SENT[version] + SAID
    world.end(client, upstream.peers[0])
    assert (world.records[0].source, world.records[0].peer) == ("192.0.2.1", "10.0.0.1")
    assert world.records[0].bytes_in == len(SAID)


@each_version
@pytest.mark.parametrize("received", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_behind_a_header_without_addresses_the_real_ones_are_sent(
    world: "World", received: bytes, version: str
) -> None:
    upstream = upstream_of(world, version)
    client = client_of(world, upstream, reception=reception())
    client.send(received + SAID)
    assert upstream.peers[0].read() == SENT[version] + SAID
    world.end(client, upstream.peers[0])


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        ("2001:db8::1", "192.0.2.2", b"TCP6 2001:db8::1 ::ffff:192.0.2.2 40000 80"),
        ("192.0.2.1", "2001:db8::2", b"TCP6 ::ffff:192.0.2.1 2001:db8::2 40000 80"),
        ("unix:", "192.0.2.2", b"UNKNOWN"),
    ],
)
def test_families_are_mixed_as_the_version_can_say_it(
    world: "World", source: str, destination: str, line: bytes
) -> None:
    upstream = upstream_of(world, "v1")
    ends = {"source": SocketAddress(source, 40000), "destination": SocketAddress(destination, 80)}
    client = client_of(world, upstream, **ends)
    assert upstream.peers[0].read() == b"PROXY " + line + b"\r\n"
    world.end(client, upstream.peers[0])


def test_a_client_of_a_unix_socket_has_a_header_of_its_own_in_v2(world: "World") -> None:
    upstream = upstream_of(world, "v2")
    ends = {"source": SocketAddress("unix:"), "destination": SocketAddress("unix:/run/lb.sock")}
    client = client_of(world, upstream, **ends)
    sent = upstream.peers[0].read()
    assert sent == b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + bytes(108) + b"/run/lb.sock".ljust(108, b"\0")
    world.end(client, upstream.peers[0])


def test_tlvs_are_worked_out_for_each_connection(world: "World") -> None:
    def learn(data: bytes, facts: Any) -> Any:
        facts.learnt["tls.sni"] = data.decode()
        return ALLOW

    tlvs = {"authority": "sni", "unique_id": "uuid", "crc32c": True, "0xE4": "{source}:{source_port}"}
    upstream = upstream_of(world, "v2", tlvs=tlvs)
    frontend = world.frontend(world.backend(upstream), validators=[SimpleNamespace(validate=learn)])
    ids = set()
    for number, name in enumerate(["a.example", "b.example"]):
        client = world.client(frontend, source=SocketAddress("192.0.2.1", 40000 + number))
        client.send(name.encode())
        sent = upstream.peers[-1].read()
        header, used = ProxyV2().decode(sent)
        assert sent[used:] == name.encode()
        assert header.tlv(0x02) == name.encode()
        assert header.tlv(0xE4) == b"192.0.2.1:%d" % (40000 + number)
        assert header.tlv(0x03) is not None
        ids.add(header.tlv(0x05))
        world.end(client, upstream.peers[-1])
    assert len(ids) == 2
    assert None not in ids


def test_received_tlvs_are_passed_on_where_they_are_listed(world: "World") -> None:
    upstream = upstream_of(world, "v2", forward_tlvs=["authority", "0xEA"])
    client = client_of(world, upstream, reception=reception())
    tlvs = Tlv(0x02, b"a.example"), Tlv(0x04, b"\0"), Tlv(0x20, b"\1\0\0\0\0"), Tlv(0xEA, b"\1vpce-1")
    ends = ProxyHeader(source=SocketAddress("203.0.113.7", 1), destination=SocketAddress("203.0.113.8", 2))
    client.send(ProxyV2().encode(msgspec.structs.replace(ends, tlvs=tlvs)))
    header, _ = ProxyV2().decode(upstream.peers[0].read())
    assert header == msgspec.structs.replace(ends, tlvs=(tlvs[0], tlvs[3]))
    world.end(client, upstream.peers[0])


# Retries


@each_version
def test_an_attempt_that_fails_sends_nothing_and_the_next_one_sends_once(world: "World", version: str) -> None:
    upstream = upstream_of(world, version, behaviour="refuse")
    client = client_of(world, upstream)
    client.send(SAID)
    world.wait(0.5)
    upstream.set("accept")
    world.wait(1)
    (served,) = upstream.peers
    assert served.read() == SENT[version] + SAID
    world.end(client, served)
    assert world.records[0].retries == 1


def test_after_a_redispatch_the_other_servers_header_is_sent(world: "World") -> None:
    first, second = upstream_of(world, "v1", "a", "refuse"), upstream_of(world, "v2", "b")
    balancer = SimpleNamespace(choose=lambda candidates, facts: candidates[0])
    backend = world.backend(first, second, retries=1, balancer=balancer)
    client = world.client(world.frontend(backend))
    client.send(SAID)
    world.turn()
    assert second.peers[0].read() == SENT["v2"] + SAID
    world.end(client, second.peers[0])
    assert (world.records[0].redispatched, world.records[0].server) == (True, "b")


# Codecs that fail


class Odd:
    """Encodes as it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def encode(self, header: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [None, "text", bytearray(b"x"), LookupError("oops"), WireError("odd")])
def test_a_codec_that_cannot_encode_ends_the_connection_on_both_sides(
    world: "World", log: list[LogEvent], answer: Any
) -> None:
    odd: Built[Any] = Built("proxy_header_test", "odd", Odd(answer))
    upstream = world.upstream()
    upstream.server.sender = Sender(odd)
    frontend = world.frontend(world.backend(upstream))
    client = world.client(frontend)
    assert client.ended()
    assert upstream.peers[0].ended()
    assert upstream.peers[0].read() == b""
    (record,) = world.records
    assert (record.ending, record.stage, record.plugin) == ("IC", "connect", "proxy_header_test")
    assert "PROXY codec 'odd'" in record.reason
    assert world.process.plugin_failures == {"proxy_header_test": 1}
    assert any("plugin proxy_header_test failed" in formatEvent(event) for event in log)
    upstream.server.sender = None
    following = world.client(frontend)
    following.send(SAID)
    assert upstream.peers[1].read() == SAID
    world.end(following, upstream.peers[1])


def test_a_client_that_is_gone_when_the_server_accepts_leaves_no_connection_behind(world: "World") -> None:
    upstream = upstream_of(world, "v2", behaviour="refuse")
    client = client_of(world, upstream)
    client.leave()
    upstream.set("accept")
    world.wait(3)
    assert world.endings() == ["CC"]
    assert upstream.peers == []
