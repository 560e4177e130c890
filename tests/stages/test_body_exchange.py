"""Exchanges whose bodies are held or filtered: what goes to the server when, and whether it may go there again."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from twisted_lb.api import Deny, PluginError
from twisted_lb.stages.body_exchange import PIECES_PER_TURN, TOO_LONG, Bodies, BodyExchange
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.request_buffer import PIECE_BYTES, Buffering
from twisted_lb.testing import make_facts, make_request
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings, Http1Error

BODY = bytes(range(256)) * 2048
HOLDING = Bodies(buffering=Buffering(memory=1024, maximum=1 << 20))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Owner:
    """A session, as far as an exchange sees it; ``calls``: what was put off."""

    def __init__(self) -> None:
        self.client = SimpleNamespace(write=lambda data: None)
        self.told: list[Any] = []
        self.calls: list[Callable[[], None]] = []

    def later(self, call: Callable[[], None]) -> Any:
        self.calls.append(call)
        return SimpleNamespace(cancel=lambda: self.calls.remove(call))

    def turn(self) -> bool:
        """Make the call that was put off, if there is one."""
        if not self.calls:
            return False
        self.calls.pop()()
        return True

    def body_denied(self, deny: Deny) -> None:
        self.told.append(deny)

    def body_filter_failed(self, error: PluginError) -> None:
        self.told.append(error)

    def buffer_failed(self, error: OSError) -> None:
        self.told.append(error)

    def request_refused(self, error: Http1Error) -> None:
        self.told.append(error)

    def response_begun(self) -> None:
        self.told.append("response")

    def exchange_done(self) -> None:
        self.told.append("done")


class Connection:
    """A server's; ``takes``: so many bytes, and then it is full."""

    def __init__(self, takes: float = float("inf")) -> None:
        self.transport = self
        self.asker: Any = None
        self.used = 0
        self.takes = takes
        self.got = b""

    def write(self, data: bytes) -> None:
        self.got += data
        if len(self.got) > self.takes:
            self.asker.server_full()

    def close(self) -> None:
        """Nobody looks."""


def held(owner: Any, body: bytes = BODY, method: str = "POST") -> BodyExchange:
    """An exchange whose body is here."""
    request = make_request(method, "/", [("Content-Length", str(len(body)))])
    exchange = HOLDING.exchange(owner, request, SimpleNamespace(now=0.0), make_facts())
    assert isinstance(exchange, BodyExchange)
    assert exchange.look_at_request() is None
    assert exchange.held
    assert exchange.request_data(body[:5000]) == b""
    assert not exchange.request_done
    assert exchange.request_data(body[5000:] + b"next") == b"next"
    assert exchange.request_done
    return exchange


def start(exchange: Exchange, connection: Any) -> None:
    forwarder = ForwardPlan(ForwardSettings()).connection(b"192.0.2.1", 80)
    exchange.start(connection, forwarder, STRICT)


def body_of(connection: Connection) -> bytes:
    return connection.got.partition(b"\r\n\r\n")[2]


def test_who_has_no_body_and_no_filter_takes_the_usual_way() -> None:
    exchange = HOLDING.exchange(Owner(), make_request(), SimpleNamespace(now=0.0), make_facts())  # type: ignore[arg-type]
    assert type(exchange) is Exchange


def test_a_few_pieces_are_sent_at_once_and_the_rest_when_others_had_their_turn() -> None:
    owner, connection = Owner(), Connection()
    start(held(owner), connection)
    assert len(body_of(connection)) == PIECES_PER_TURN * PIECE_BYTES < len(BODY)
    while owner.turn():
        pass
    assert body_of(connection) == BODY


def test_a_server_that_is_full_gets_the_rest_when_it_is_not_any_more() -> None:
    owner, connection = Owner(), Connection(takes=PIECE_BYTES + 1000)
    exchange = held(owner)
    start(exchange, connection)
    sent = len(body_of(connection))
    assert sent == 2 * PIECE_BYTES
    assert not owner.turn()
    assert not exchange.reusable
    connection.takes = float("inf")
    exchange.server_drained()
    while owner.turn():
        pass
    assert body_of(connection) == BODY


def test_it_is_sent_to_another_server_from_the_first_byte_on() -> None:
    owner, first, second = Owner(), Connection(takes=1000), Connection()
    exchange = held(owner, method="PUT")
    start(exchange, first)
    assert exchange.replayable
    exchange.drop_server()
    start(exchange, second)
    while owner.turn():
        pass
    assert body_of(second) == BODY
    assert len(body_of(first)) == PIECE_BYTES


@pytest.mark.parametrize(("method", "may"), [("PUT", True), ("DELETE", True), ("POST", False), ("PATCH", False)])
def test_only_who_does_no_more_by_being_repeated_is_replayable(method: str, may: bool) -> None:
    exchange = held(Owner(), method=method)
    start(exchange, Connection())
    assert exchange.replayable == may
    exchange.response_data(OK[:9])
    assert not exchange.replayable


def test_nothing_is_left_to_be_called_after_the_end() -> None:
    owner = Owner()
    for end in (BodyExchange.close, BodyExchange.drop_server, lambda one: one.server_ended("gone", True)):
        owner.server_gone = lambda reason: None  # type: ignore[attr-defined]
        exchange = held(owner)
        start(exchange, Connection())
        assert owner.calls
        end(exchange)
        assert not owner.calls


def test_a_server_that_answers_early_is_not_used_again_while_it_has_not_got_all() -> None:
    owner, connection = Owner(), Connection(takes=10)
    exchange = held(owner)
    start(exchange, connection)
    exchange.response_data(OK)
    assert owner.told == ["response", "done"]
    assert not exchange.reusable


def test_a_length_beyond_the_bound_is_refused_unread() -> None:
    request = make_request("POST", "/", [("Content-Length", str((1 << 20) + 1))])
    exchange = HOLDING.exchange(Owner(), request, SimpleNamespace(now=0.0), make_facts())  # type: ignore[arg-type]
    assert isinstance(exchange, BodyExchange)
    assert exchange.look_at_request() is TOO_LONG
    assert TOO_LONG.status == 413


def test_a_file_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner()
    exchange = held(owner)

    def fail(fd: int, size: int, at: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.pread", fail)
    start(exchange, Connection())
    (error,) = owner.told
    assert isinstance(error, OSError)
