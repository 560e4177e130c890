"""PROXY headers for the tests of sessions; imported by tests, runs no test itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted_lb.api import SocketAddress
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
SAID = b"hello, server"


def reception(
    *codecs: Any,
    from_: Sequence[str] = (),
    others: Trust = Trust.REFUSED,
    timeout_s: float = 3.0,
    max_header: int = 4096,
) -> Reception:
    """What a bind expects; ``codecs``: the bundled ones if there are none."""
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
    """The connection ended without a server, and the record says so and why."""
    world.turn()
    assert client.ended()
    (record,) = world.records
    assert (record.ending, record.stage) == (code, stage)
    assert reason in record.reason
    assert (record.source, record.peer) == (PEER.host, PEER.host), "a claim was believed"
    assert (record.server, record.connect_ms) == ("<NOSRV>", -1)
    assert not world.upstreams[0].peers, "a server was connected"
