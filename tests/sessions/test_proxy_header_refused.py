"""PROXY headers that come too late, broken or not at all, and codecs that fail: nobody gets in, the log says why."""

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.sessions.proxied import (
    ASKED,
    CLAIMED,
    SAID,
    SIGNATURE,
    V1,
    V2,
    V2_TLVS,
    assert_refused,
    assert_served,
    client_of,
    reception,
)
from twisted_lb.api import NEED_MORE, NeedMore, ProxyHeader, WireError
from twisted_lb_plugins.proxy_header_v1 import ProxyV1

if TYPE_CHECKING:
    from tests.sessions.conftest import World


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


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


# Codecs that fail


class Odd:
    """A codec that decodes as it is told to."""

    signature = b"ODD"
    max_length = 100

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.decode = decode
        self.encode = bytes


def raises(error: type[BaseException]) -> Callable[[bytes], Any]:
    """Make a ``decode`` that raises."""

    def decode(_: bytes) -> Any:
        raise error("oops")

    return decode


class Unspeakable:
    """Its repr raises."""

    def __repr__(self) -> str:
        raise LookupError


HEADER = ProxyHeader(source=CLAIMED, destination=ASKED)


@pytest.mark.parametrize(
    "decode",
    [
        raises(LookupError),
        raises(SystemExit),
        raises(GeneratorExit),
        raises(CancelledError),
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
        lambda data: Unspeakable(),
        lambda data: (HEADER, Unspeakable()),
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


@pytest.mark.parametrize(("max_header", "most"), [(50, 50), (200, Odd.max_length)])
def test_a_codec_that_is_never_satisfied_gets_no_more_than_a_header_may_have(
    world: "World", max_header: int, most: int
) -> None:
    asked: list[int] = []

    def decode(data: bytes) -> Any:
        asked.append(len(data))
        return NEED_MORE

    client = client_of(world, reception(Odd(decode), max_header=max_header))
    client.send(b"ODD")
    for _ in range(300):
        if world.records:
            break
        client.send(b"x")
    assert_refused(world, client, "PR", "proxy-header-too-long")
    assert max(asked) == most


def test_a_codec_that_asks_for_more_than_max_header_is_told_no_at_once(world: "World") -> None:
    client = client_of(world, reception(Odd(lambda data: NeedMore(201)), max_header=200))
    client.send(b"ODD")
    assert_refused(world, client, "PR", "proxy-header-too-long")
