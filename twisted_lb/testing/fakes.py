"""Servers, facts and records that a test makes up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from twisted_lb.api import (
    OWN_FACTS,
    Fact,
    Facts,
    IServer,
    Runtime,
    SessionRecord,
    SocketAddress,
)
from twisted_lb.rules.scope import Scope
from twisted_lb.wire.http1 import RequestHead, ResponseHead, parse_request, parse_response

SOURCES = (
    SocketAddress("192.0.2.1", 40000),
    SocketAddress("2001:db8::1", 40000),
    SocketAddress("::ffff:192.0.2.1", 40000),
    SocketAddress("fe80::1%eth0", 40000),
    SocketAddress("unix:"),
    SocketAddress("unix:/run/client with a blank.sock"),
    SocketAddress("unix:@abstract"),
)
"""Every kind of client that a proxy meets."""

STRANGE_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"GET /a%20b/../c;d?e=%00&f HTTP/1.1\r\nHost: EXAMPLE.org:8080\r\nX-A: 1\r\nx-a: \xff\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET http://example.org HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    b"POST //x HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    b"!~ / HTTP/1.1\r\nHost: example.org.\r\nTransfer-Encoding: chunked\r\n\r\n",
)
"""Heads of requests, each of them valid."""


@implementer(IServer)
@dataclass(slots=True)
class FakeServer:
    """A server as balancers and observers see it; set what the test needs."""

    name: str
    weight: int = 1
    connections: int = 0
    maxconn: int = 0
    failures: int = 0


def make_runtime(reactor: Any = None, wall_clock: Callable[[], float] = lambda: 1795376895.0) -> Runtime:
    """Make what supplies with ``runtime=True`` are built with; without a ``reactor`` one in memory whose time stands
    still until its ``advance`` is called, and it is 2026-11-22 19:48:15 UTC.
    """
    made = MemoryReactorClock() if reactor is None else reactor
    return Runtime(made, made, wall_clock)


def fact_finder(
    mode: Literal["tcp", "http"] = "tcp", learnt: Mapping[str, Fact] | None = None
) -> Callable[[str], tuple[Fact, Callable[[Facts], Any]]]:
    """Make what ``IFactPolicy.use_facts`` is given in a frontend of that mode, where ``learnt`` is learnt as well."""
    return Scope({**OWN_FACTS, **(learnt or {})}, mode).find


def make_facts(
    source: str = "192.0.2.1",
    source_port: int = 40000,
    destination: str = "192.0.2.2",
    destination_port: int = 80,
    frontend: str = "web",
    bind: str = "*:80",
    learnt: Mapping[str, Any] | None = None,
    request: RequestHead | bytes | None = None,
) -> Facts:
    """Make the facts about a connection; ``learnt`` is what validators found out, ``request`` the head of the current
    request in HTTP mode. Raises: WireError if it breaks a rule.
    """
    facts = Facts(SocketAddress(source, source_port), SocketAddress(destination, destination_port), frontend, bind)
    facts.learnt.update(learnt or {})
    if request is not None:
        facts.http = parse_request(request) if isinstance(request, bytes) else request
        assert isinstance(facts.http, RequestHead), "the head is not whole"
    return facts


def make_request(
    method: str = "GET", target: str = "/", fields: Sequence[tuple[str, str]] = (), version: str = "1.1"
) -> RequestHead:
    """Make a request's head, for ``facts.http``; ``fields`` beside Host. Raises: WireError if it breaks a rule."""
    head = parse_request(_head(f"{method} {target} HTTP/{version}", [("Host", "example.org"), *fields]))
    assert isinstance(head, RequestHead)
    return head


def make_response(
    status: int = 200, fields: Sequence[tuple[str, str]] = (), request: RequestHead | None = None
) -> ResponseHead:
    """Make a response's head; ``request``: what it answers. Raises: WireError if it breaks a rule."""
    head = parse_response(_head(f"HTTP/1.1 {status} Made up", fields), request or make_request())
    assert isinstance(head, ResponseHead)
    return head


def _head(line: str, fields: Sequence[tuple[str, str]]) -> bytes:
    return "".join([f"{line}\r\n", *(f"{name}: {value}\r\n" for name, value in fields), "\r\n"]).encode("latin-1")


def make_record(**changes: Any) -> SessionRecord:
    """Make the record of an ordinary connection that ended well, with ``changes``."""
    fields: dict[str, Any] = {
        "time": 1795376895.123,  # 2026-11-22 19:48:15.123 UTC
        "source": "192.0.2.1",
        "source_port": 40000,
        "peer": "192.0.2.1",
        "peer_port": 40000,
        "destination": "192.0.2.2",
        "destination_port": 80,
        "frontend": "web",
        "bind": "*:80",
        "backend": "app",
        "server": "a",
        "queue_ms": 0,
        "connect_ms": 1,
        "total_ms": 250,
        "bytes_in": 100,
        "bytes_out": 1024,
        "ending": "--",
        "stage": "relay",
        "reason": "",
        "plugin": "",
        "process_connections": 1,
        "frontend_connections": 1,
        "backend_connections": 1,
        "server_connections": 1,
        "retries": 0,
        "redispatched": False,
        "server_queue": 0,
        "backend_queue": 0,
    }
    return SessionRecord(**fields | changes)


def strange_records() -> list[SessionRecord]:
    """Return records of every kind of client, and with what formats stumble over."""
    sources = [make_record(source=source.host, source_port=source.port) for source in SOURCES]
    return [
        *sources,
        make_record(source="unix:/a\nb\r\udcff\xe4", source_port=0, destination="unix:/tmp/x", destination_port=0),
        make_record(server="<NOSRV>", queue_ms=-1, connect_ms=-1, total_ms=0, bytes_out=0, ending="PR", stage="policy"),
        make_record(time=1795376895.9996, retries=3, redispatched=True, bytes_in=1 << 40, bytes_out=1 << 40),
        make_record(time=0.0, reason='he said "\xe4\n"', plugin="policy_x", ending="IR", stage="policy"),
    ]
