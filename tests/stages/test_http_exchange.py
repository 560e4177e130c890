"""One request and its response, without a session; whole exchanges are in ``tests/http_sessions``."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.stages.http_exchange import MOST_INTERIM, Exchange
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings, Http1Error, RequestHead, parse_request

FORWARDER = ForwardPlan(ForwardSettings()).connection(b"192.0.2.1", 80)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Owner:
    """Notes what it is told. ``client``: notes what it is sent."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.sent = b""
        self.client: Any = SimpleNamespace(write=self._sent)

    def _sent(self, data: bytes) -> None:
        self.sent += data

    def pause_client(self) -> None:
        self.told.append("pause")

    def resume_client(self) -> None:
        self.told.append("resume")

    def response_begun(self) -> None:
        self.told.append("begun")

    def tunnel_begun(self, head: bytes, rest: bytes) -> None:
        self.told.append(f"tunnel {rest!r}")

    def exchange_done(self) -> None:
        self.told.append("done")

    def request_refused(self, error: Http1Error, data: bytes, at: int) -> None:
        self.told.append(error.reason)

    def response_refused(self, error: Http1Error, data: bytes, at: int = 0) -> None:
        self.told.append(error.reason)

    def exchange_crashed(self) -> None:
        self.told.append("crashed")

    def server_gone(self, reason: str) -> None:
        self.told.append("gone")


class Server:
    """The transport of a connection to a server; notes what it is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass


def begun(request: bytes = GET) -> tuple[Exchange, Owner, Server]:
    """An exchange whose request has been sent as far as it is in ``request``."""
    head = parse_request(request)
    assert isinstance(head, RequestHead)
    owner, server = Owner(), Server()
    exchange = Exchange(owner, head, SimpleNamespace(now=1.0))
    exchange.client_keeps = head.keep_alive
    connection = ServerConnection(SimpleNamespace())  # type: ignore[arg-type]
    connection.makeConnection(server)
    exchange.start(connection, FORWARDER, STRICT)
    rest = request[head.length :]
    if not exchange.request_done and rest:
        exchange.request_data(rest)
    return exchange, owner, server


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabctoo much",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxx\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"SSH-2.0-OpenSSH\r\n\r\n",
]


def heard(request: bytes, pieces: list[bytes]) -> tuple[bytes, list[str], bool]:
    """What the client gets and the owner is told when the response comes in these pieces."""
    exchange, owner, _ = begun(request)
    connection = exchange.connection
    for piece in pieces:
        if {"done", "gone"} & set(owner.told) or any(told.startswith("http1-") for told in owner.told):
            break
        exchange.response_data(piece)
    exchange.connection = connection
    return owner.sent, owner.told, exchange.client_keeps


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({position % (len(data) + 1) for position in at}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


@given(st.sampled_from([GET, OLD]), st.sampled_from(RESPONSES), st.lists(st.integers(0, 200), max_size=6))
def test_a_response_cut_anywhere_is_the_same(request: bytes, response: bytes, at: list[int]) -> None:
    sent, told, keeps = heard(request, cut(response, at))
    sent_at_once, *expected = heard(request, [response])
    assert [told, keeps] == expected
    if "done" in told:
        assert sent == sent_at_once
    else:
        # What came before a defect may have been passed on before the defect came.
        assert sent.startswith(sent_at_once)


def test_a_connection_that_the_server_does_not_empty_carries_no_other_request() -> None:
    for full in (False, True):
        exchange, _, _ = begun()
        if full:
            exchange.server_full()
        exchange.response_data(RESPONSES[0])
        assert exchange.reusable is not full


@pytest.mark.parametrize("too_many", [False, True])
def test_so_many_interim_responses_and_no_more(too_many: bool) -> None:
    exchange, owner, _ = begun()
    exchange.response_data(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MOST_INTERIM + too_many))
    assert owner.told == (["http1-interim"] if too_many else [])


def test_what_the_server_said_behind_a_change_of_protocol_goes_along() -> None:
    asks = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    exchange, owner, _ = begun(asks)
    exchange.response_data(b"HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nraw")
    assert owner.told == ["tunnel b'raw'"]


@pytest.mark.parametrize(
    ("response", "clean", "told"),
    [
        (b"", True, ["gone"]),
        (b"HTTP/1.1 200 OK\r\n", True, ["gone"]),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", True, ["begun", "done"]),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False, ["begun", "gone"]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", True, ["begun", "gone"]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", True, ["begun", "gone"]),
    ],
)
def test_the_end_of_the_connection_ends_only_what_has_no_other_end(
    response: bytes, clean: bool, told: list[str]
) -> None:
    exchange, owner, _ = begun()
    if response:
        exchange.response_data(response)
    exchange.server_ended("closed", clean)
    assert owner.told == told


def test_a_defect_is_told_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, owner, _ = begun()
    monkeypatch.setattr("twisted_lb.stages.http_exchange.parse_response", None)
    exchange.response_data(RESPONSES[0])
    assert owner.told == ["crashed"]
