"""Receiving PROXY headers: nothing happens before one is whole and good, then all is as if the client had come itself.

Sending them is in ``test_send_proxy.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from twisted_lb.api import ALLOW, NEED_MORE, Deny, NeedMore, ProxyHeader, SocketAddress, Stage, Tlv, WireError
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built
from twisted_lb.stages.proxy_header import Reception, Trust
from twisted_lb_plugins.proxy_header_v1 import ProxyV1
from twisted_lb_plugins.proxy_header_v2 import ProxyV2

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, World

CLAIMED, ASKED = SocketAddress("203.0.113.7", 51000), SocketAddress("198.51.100.9", 443)
PEER = SocketAddress("192.0.2.1", 40000)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.7 198.51.100.9 51000 443\r\n"
V2 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([203, 0, 113, 7, 198, 51, 100, 9]) + b"\xc7\x38\x01\xbb"
V2_TLVS = V2[:15] + b"\x14" + V2[16:] + b"\x02\0\x05a.exa"
HEADERS = {"v1": V1, "v2": V2, "v2 and TLVs": V2_TLVS}
NAMELESS = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN with addresses": b"PROXY UNKNOWN 203.0.113.7 198.51.100.9 51000 443\r\n",
    "LOCAL": SIGNATURE + b"\x20\0\0\0",
    "LOCAL with addresses": SIGNATURE + b"\x20" + V2[13:],
    "UNSPEC": SIGNATURE + b"\x21\0\0\0",
}
SAID = b"hello, server"

each_header = pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


def reception(
    *codecs: Any,
    from_: Sequence[str] = (),
    others: Trust = Trust.REFUSED,
    timeout_s: float = 3.0,
    max_header: int = 4096,
) -> Reception:
    """``codecs``: the bundled ones if there are none."""
    built: list[Built[Any]] = [Built("proxy_header_test", "odd", codec) for codec in codecs] or [
        Built("proxy_header_v1", "v1", ProxyV1()),
        Built("proxy_header_v2", "v2", ProxyV2()),
    ]
    return Reception(built, Networks.parse(from_) if from_ else None, others, timeout_s, max_header)


def client_of(world: "World", expected: Reception | None = None, **frontend: Any) -> "Peer":
    """A client of a frontend with one server, on a bind with ``accept_proxy``."""
    return world.client(world.frontend(world.backend(world.upstream()), **frontend), reception=expected or reception())


def assert_served(world: "World", client: "Peer", said: bytes, source: SocketAddress, asked: SocketAddress) -> None:
    """The server gets exactly ``said``, its answer comes back, and the record names these addresses."""
    (served,) = world.upstreams[0].peers
    assert served.read() == said
    served.send(b"answer")
    assert client.read() == b"answer"
    world.end(client, served)
    (record,) = world.records
    assert record.ending == "--"
    assert (record.source, record.source_port) == source
    assert (record.destination, record.destination_port) == asked
    assert (record.peer, record.peer_port) == PEER
    assert (record.bytes_in, record.bytes_out) == (len(said), len(b"answer")), "the header was counted"


def assert_refused(world: "World", client: "Peer", code: str, reason: str, stage: str = "proxy_header") -> None:
    world.turn()
    assert client.ended()
    (record,) = world.records
    assert (record.ending, record.stage) == (code, stage)
    assert reason in record.reason
    assert (record.source, record.peer) == (PEER.host, PEER.host), "a claim was believed"
    assert (record.server, record.connect_ms) == ("<NOSRV>", -1)
    assert not world.upstreams[0].peers, "a server was connected"


# However it comes


@each_header
def test_a_header_with_payload_glued_to_it_says_who_the_client_is(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


@each_header
def test_a_header_alone_lets_the_connection_on_so_that_the_server_may_speak_first(
    world: "World", header: bytes
) -> None:
    client = client_of(world)
    client.send(header)
    world.upstreams[0].peers[0].send(b"220 welcome")
    assert client.read() == b"220 welcome"
    client.send(b"EHLO")
    assert world.upstreams[0].peers[0].read() == b"EHLO"
    world.end(client, world.upstreams[0].peers[0])
    assert (world.records[0].source, world.records[0].bytes_in) == (CLAIMED.host, 4)


@each_header
def test_no_server_is_connected_before_the_last_byte_of_a_header_has_come(world: "World", header: bytes) -> None:
    client = client_of(world)
    for place in range(len(header)):
        assert not world.upstreams[0].peers, f"{place} bytes of {len(header)} were enough"
        client.send(header[place : place + 1])
    client.send(SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


@each_header
def test_where_a_header_is_cut_does_not_matter(world: "World", header: bytes) -> None:
    whole = header + SAID
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream))
    for cut in range(1, len(whole)):
        client = world.client(frontend, reception=reception())
        client.send(whole[:cut])
        assert len(upstream.peers) == cut - 1 + (cut >= len(header))
        client.send(whole[cut:])
        assert upstream.peers[-1].read() == SAID
        world.end(client, upstream.peers[-1])
    assert {(record.ending, record.source, record.bytes_in) for record in world.records} == {
        ("--", CLAIMED.host, len(SAID))
    }


@each_header
def test_a_client_that_says_all_at_once_is_heard_to_the_end(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    client.finish()
    (served,) = world.upstreams[0].peers
    assert served.read() == SAID
    assert served.ended()
    served.send(b"answer")
    served.finish()
    assert client.read() == b"answer"
    assert client.ended()
    assert world.endings() == ["--"]


def test_a_long_payload_behind_a_header_arrives_whole(world: "World") -> None:
    said = bytes(range(256)) * 300
    client = client_of(world)
    rest = V2 + said
    for _ in range(1000):
        rest = rest[client.send(rest) :]
        if world.upstreams[0].peers:
            world.upstreams[0].peers[0].read()
        if not rest:
            break
    assert_served(world, client, said, CLAIMED, ASKED)


def test_what_looks_like_a_second_header_is_payload(world: "World") -> None:
    client = client_of(world)
    client.send(V1 + V2 + SAID)
    assert_served(world, client, V2 + SAID, CLAIMED, ASKED)


@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS)
def test_a_header_without_addresses_keeps_those_of_the_connection(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    assert_served(world, client, SAID, PEER, SocketAddress("192.0.2.2", 80))


def test_a_bind_that_expects_no_header_lets_one_through_as_it_is(world: "World") -> None:
    client = world.client(world.frontend(world.backend(world.upstream())))
    client.send(V1 + SAID)
    assert_served(world, client, V1 + SAID, PEER, SocketAddress("192.0.2.2", 80))


# What comes after it


class Noting:
    """As a policy and as a validator: notes whom it was asked about, and answers ``verdict``."""

    def __init__(self, verdict: Any = ALLOW, stage: Stage = Stage.POLICY) -> None:
        self.stage = stage
        self.verdict = verdict
        self.asked: list[Any] = []

    def decide(self, facts: Any) -> Any:
        self.asked.append((facts.source, facts.destination, facts.peer))
        return self.verdict

    def validate(self, data: bytes, facts: Any) -> Any:
        self.asked.append((data, facts.source))
        return self.verdict(data) if callable(self.verdict) else self.verdict


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_policy_is_asked_once_and_about_the_client_that_the_header_names(world: "World", stage: Stage) -> None:
    policy = Noting(stage=stage)
    client = client_of(world, policies=[policy])
    client.send(V2[:-1])
    assert policy.asked == [], "it judged the proxy, or before there was a header"
    client.send(V2[-1:] + SAID)
    assert policy.asked == [(CLAIMED, ASKED, PEER)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_client_that_a_policy_denies_gets_nowhere_behind_a_proxy_either(world: "World", stage: Stage) -> None:
    client = client_of(world, policies=[Noting(Deny("not today"), stage)])
    client.send(V2 + SAID)
    assert client.ended()
    (record,) = world.records
    assert (record.ending, record.stage, record.source) == ("PR", "policy", CLAIMED.host)
    assert not world.upstreams[0].peers
    assert not world.process.complaints, "a policy's denial is no broken header"


def test_a_direct_client_is_judged_by_its_own_address(world: "World") -> None:
    policy = Noting(Deny("not today"), Stage.ADMISSION)
    client_of(world, reception(from_=["10.0.0.0/8"], others=Trust.DIRECT), policies=[policy])
    assert [source for source, _, _ in policy.asked] == [PEER]
    assert world.endings() == ["PR"]


def test_validators_see_what_follows_the_header(world: "World") -> None:
    validator = Noting(lambda data: ALLOW if len(data) >= 5 else NeedMore(5))
    client = client_of(world, validators=[validator])
    client.send(V2 + b"hel")
    client.send(b"l")
    assert not world.upstreams[0].peers
    client.send(b"o, server")
    assert validator.asked == [(b"hel", CLAIMED), (SAID, CLAIMED)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


def test_validators_wait_for_bytes_of_the_client_when_the_header_came_alone(world: "World") -> None:
    validator = Noting()
    client = client_of(world, validators=[validator])
    client.send(V1)
    assert validator.asked == []
    assert not world.upstreams[0].peers
    client.send(SAID)
    assert validator.asked == [(SAID, CLAIMED)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


def test_a_validator_that_denies_what_follows_the_header(world: "World") -> None:
    client = client_of(world, validators=[Noting(Deny("not ours"))])
    client.send(V1 + SAID)
    assert client.ended()
    assert (world.records[0].ending, world.records[0].stage) == ("PR", "validation")
    assert not world.process.complaints


def test_validators_have_a_time_of_their_own(world: "World") -> None:
    client = client_of(world, validators=[Noting(NEED_MORE)], inspect=2.0)
    world.wait(2.5)
    client.send(V1 + b"x")
    world.wait(1.7)
    assert world.records == [], "the time for the header went on"
    world.wait(0.6)
    assert (world.records[0].ending, world.records[0].stage) == ("cR", "validation")


# Too late, gone, or broken


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 203.0.113.7", V2[:-1], SIGNATURE[:3]])
def test_who_sends_no_whole_header_in_time_is_gone(world: "World", begun: bytes) -> None:
    client = client_of(world)
    if begun:
        client.send(begun)
    world.wait(2.9)
    assert world.records == []
    world.wait(0.4)
    assert_refused(world, client, "cR", "accept_proxy.timeout")


@pytest.mark.parametrize("header", [V1, V2])
def test_who_sends_a_byte_a_second_is_gone_at_the_same_time(world: "World", header: bytes) -> None:
    client = client_of(world)
    for byte in header:
        client.send(bytes([byte]))
        world.wait(1)
        if world.records:
            break
    assert_refused(world, client, "cR", "accept_proxy.timeout")
    assert 3000 <= world.records[0].total_ms <= 3300


def test_the_deadline_ends_with_the_header(world: "World") -> None:
    client = client_of(world)
    world.wait(2.5)
    client.send(V1)
    world.wait(5)
    client.send(SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


@pytest.mark.parametrize("begun", [b"", V1[:20], V2[:20]])
@pytest.mark.parametrize("half", [True, False])
def test_who_leaves_before_the_header_is_whole_has_left(world: "World", begun: bytes, half: bool) -> None:
    client = client_of(world)
    if begun:
        client.send(begun)
    client.finish() if half else client.leave()
    world.turn()
    (record,) = world.records
    assert (record.ending, record.stage) == ("CR", "proxy_header")
    assert not world.upstreams[0].peers
    assert not world.process.complaints


BROKEN = {
    "TLS": (b"\x16\x03\x01\x02\0\x01", '"\\x16\\x03\\x01\\x02\\x00\\x01"'),
    "HTTP": (b"GET / HTTP/1.1\r\n", '"GET / HTTP/1.1\\r\\n"'),
    "one byte": (b"x", '"x"'),
    "lower case": (b"Proxy", "proxy-not-a-header"),
    "family": (b"PROXY TCP5 ", "proxy-v1-family"),
    "address": (b"PROXY TCP4 999.1.1.1 198.51.100.9 51000 443\r\n", "proxy-v1-address"),
    "too long a line": (b"PROXY UNKNOWN" + b" " * 100, "proxy-v1-length"),
    "version": (SIGNATURE + b"\x31\x11\0\x0c", "proxy-v2-version"),
    "length": (SIGNATURE + b"\x21\x11\0\x0b" + bytes(11), "proxy-v2-length"),
    "TLV": (V2[:15] + b"\x0d" + V2[16:] + b"\x02", "proxy-v2-tlv"),
    "checksum": (V2[:15] + b"\x13" + V2[16:] + b"\x03\0\x04\0\0\0\0", "proxy-v2-crc32c"),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_header_ends_the_connection_at_once_and_is_told(
    world: "World", log: list[LogEvent], data: bytes, said: str
) -> None:
    client = client_of(world)
    client.send(data)
    assert_refused(world, client, "PR", said)
    assert world.process.complaints == {"frontend web": 1}
    (line,) = [formatEvent(event) for event in log]
    assert line.startswith("frontend web: 192.0.2.1:40000: proxy-")
    assert said in line
    assert log[0]["log_level"].name == "warn"
    assert line.isprintable()


def test_a_wrong_byte_is_enough(world: "World") -> None:
    client = client_of(world)
    client.send(b"PROXY TCP4 203.0.113.7 ")
    assert not world.records
    client.send(b"x")
    assert_refused(world, client, "PR", "proxy-v1-address")


def test_a_flood_of_broken_headers_is_counted_in_full_and_logged_now_and_then(
    world: "World", log: list[LogEvent]
) -> None:
    frontend = world.frontend(world.backend(world.upstream()))
    for _ in range(250):
        world.client(frontend, reception=reception()).send(b"x")
    assert world.process.complaints == {"frontend web": 250}
    assert len(log) == 12


@pytest.mark.parametrize(("limit", "code"), [(len(V2_TLVS), "--"), (len(V2_TLVS) - 1, "PR")])
def test_a_header_is_as_long_as_max_header_at_most(world: "World", limit: int, code: str) -> None:
    client = client_of(world, reception(max_header=limit))
    client.send(V2_TLVS[:16])
    if code == "PR":
        assert_refused(world, client, "PR", "proxy-header-too-long")
        return
    client.send(V2_TLVS[16:] + SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


# Whom to believe


INSIDE, OUTSIDE = "192.0.2.0/24", "10.0.0.0/8"


def test_who_is_not_trusted_is_refused_before_a_byte_is_read(world: "World") -> None:
    client = client_of(world, reception(from_=[OUTSIDE]))
    assert_refused(world, client, "PR", "source is not in accept_proxy.from")


def test_who_is_trusted_must_send_a_header(world: "World") -> None:
    expected = reception(from_=[INSIDE], others=Trust.DIRECT)
    client = client_of(world, expected)
    client.send(SAID)
    assert_refused(world, client, "PR", "proxy-not-a-header")


@pytest.mark.parametrize("said", [SAID, V1 + SAID, V2 + SAID, b"PROXY TCP4 999"])
def test_the_bytes_of_a_direct_client_are_never_looked_at(world: "World", said: bytes) -> None:
    client = client_of(world, reception(from_=[OUTSIDE], others=Trust.DIRECT))
    assert world.upstreams[0].peers, "it waited for bytes"
    client.send(said)
    assert_served(world, client, said, PEER, SocketAddress("192.0.2.2", 80))


@pytest.mark.parametrize(("networks", "served"), [([OUTSIDE], False), (["unix"], True), ([OUTSIDE, "unix"], True)])
def test_a_client_of_a_unix_socket_is_trusted_only_by_name(world: "World", networks: list[str], served: bool) -> None:
    frontend = world.frontend(world.backend(world.upstream()))
    client = world.client(frontend, reception=reception(from_=networks), source=SocketAddress("unix:"))
    if served:
        client.send(V1 + SAID)
        assert world.upstreams[0].peers[0].read() == SAID
        world.end(client, world.upstreams[0].peers[0])
    assert world.endings() == ["--" if served else "PR"]
    assert world.records[0].peer == "unix:"
    assert world.records[0].source == (CLAIMED.host if served else "unix:")


# Codecs that fail


class Odd:
    """A codec that decodes as it is told to."""

    signature = b"ODD"
    max_length = 100

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.decode = decode
        self.encode = bytes


def raises(_: bytes) -> Any:
    raise LookupError("oops")


HEADER = ProxyHeader(source=CLAIMED, destination=ASKED)


@pytest.mark.parametrize(
    "decode",
    [
        raises,
        lambda data: None,
        lambda data: True,
        lambda data: HEADER,
        lambda data: (HEADER,),
        lambda data: (HEADER, 0),
        lambda data: (HEADER, -1),
        lambda data: (HEADER, len(data) + 1),
        lambda data: (HEADER, "3"),
        lambda data: ("header", 3),
        lambda data: (None, 3),
        lambda data: WireError("odd"),
        lambda data: Deferred(),
        lambda data: SimpleNamespace(),
    ],
)
def test_a_codec_that_raises_or_answers_nonsense_lets_nobody_in(
    world: "World", log: list[LogEvent], decode: Callable[[bytes], Any]
) -> None:
    client = client_of(world, reception(Odd(decode)))
    client.send(b"ODD header")
    assert_refused(world, client, "IR", "PROXY codec 'odd'")
    assert world.records[0].plugin == "proxy_header_test"
    assert world.process.plugin_failures == {"proxy_header_test": 1}
    assert not world.process.complaints
    assert any("plugin proxy_header_test failed" in formatEvent(event) for event in log)


def test_a_codec_of_ones_own_is_used_like_the_bundled_ones(world: "World") -> None:
    client = client_of(world, reception(Odd(lambda data: (HEADER, 4) if b";" in data else NEED_MORE), ProxyV1()))
    client.send(b"ODD")
    assert not world.upstreams[0].peers
    client.send(b";" + SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


def test_what_a_codec_refuses_is_the_senders_fault(world: "World") -> None:
    def refuse(data: bytes) -> Any:
        raise WireError("odd-checksum", 3)

    client = client_of(world, reception(Odd(refuse)))
    client.send(b"ODD header")
    assert_refused(world, client, "PR", "odd-checksum")
    assert not world.process.plugin_failures
    assert world.process.complaints == {"frontend web": 1}


def test_a_codec_that_is_never_satisfied_gets_max_header_at_most(world: "World") -> None:
    asked: list[int] = []

    def decode(data: bytes) -> Any:
        asked.append(len(data))
        return NEED_MORE

    client = client_of(world, reception(Odd(decode), max_header=200))
    client.send(b"ODD")
    for _ in range(300):
        if world.records:
            break
        client.send(b"x")
    assert_refused(world, client, "PR", "proxy-header-too-long")
    assert max(asked) == 200


def test_a_codec_that_asks_for_more_than_max_header_is_told_no_at_once(world: "World") -> None:
    client = client_of(world, reception(Odd(lambda data: NeedMore(201)), max_header=200))
    client.send(b"ODD")
    assert_refused(world, client, "PR", "proxy-header-too-long")


def test_policies_can_see_the_whole_header(world: "World") -> None:
    seen: list[Any] = []

    def decide(facts: Any) -> Any:
        seen.append(facts.proxy_header)
        return ALLOW

    client = client_of(world, policies=[SimpleNamespace(stage=Stage.POLICY, decide=decide)])
    client.send(V2_TLVS + SAID)
    assert seen == [ProxyHeader(source=CLAIMED, destination=ASKED, tlvs=(Tlv(2, b"a.exa"),))]
    assert_served(world, client, SAID, CLAIMED, ASKED)
