"""A service is asked over connections that are kept, and what it answers is bounded; TLS is tried in tests/loopback."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.loopback.servers import needs_ipv6
from tests.turning import Origin, Turning, says, turning
from twisted_lb.errors import ConfigError
from twisted_lb.lookups import UnansweredError
from twisted_lb.web_service import WebAnswer, WebService

__all__ = ["turning"]


@pytest.fixture
def origin(turning: Turning) -> Iterator[Origin]:
    made = Origin(turning, lambda request: says(200, b"yes"))
    yield made
    made.close()
    turning.settle()


class Asking:
    """A service, and whoever asks it."""

    def __init__(self, turning: Turning, url: str, **options: Any) -> None:
        self._turning = turning
        self.service = WebService(turning.reactor, url, 5.0, 10, 100, **options)

    def begin(self, body: bytes | None = None) -> Deferred[WebAnswer]:
        return Deferred.fromCoroutine(self.service.ask([(b"X-A", b"1"), (b"x-a", b"\xff")], body))

    def __call__(self, body: bytes | None = None) -> Any:
        answer = self._turning.result(self.begin(body))
        self._turning.settle()
        return answer

    def close(self) -> None:
        self.service._pool.closeCachedConnections()
        self._turning.settle()


@pytest.fixture
def ask(turning: Turning, origin: Origin) -> Iterator[Asking]:
    made = Asking(turning, origin.url)
    yield made
    made.close()


def test_a_question_has_its_fields_and_an_answer_its_parts(ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: says(403, b"no", "X-Why: because", "x-why: just so")
    answer = ask()
    assert (answer.status, answer.body) == (403, b"no")
    assert answer.headers.getRawHeaders(b"X-Why") == [b"because", b"just so"]
    head = origin.requests[0]
    assert head.startswith(b"GET /auth HTTP/1.1\r\n")
    assert b"X-A: 1\r\nX-A: \xff\r\n" in head
    assert f"Host: 127.0.0.1:{origin.port}\r\n".encode() in head


def test_a_body_is_posted(ask: Asking, origin: Origin) -> None:
    ask(b"{}")
    assert origin.requests[0].startswith(b"POST /auth HTTP/1.1\r\n")
    assert origin.requests[0].endswith(b"\r\n\r\n{}")


def test_connections_are_kept_for_the_next_question(ask: Asking, origin: Origin) -> None:
    for _ in range(5):
        assert ask().body == b"yes"
    assert origin.accepted == 1


@pytest.mark.parametrize("body", [None, b"{}"])
def test_a_connection_that_was_closed_meanwhile_is_not_noticed(ask: Asking, origin: Origin, body: bytes | None) -> None:
    def close_after_one(request: bytes) -> bytes | None:
        if len(origin.requests) == 2:  # the second question over the first connection
            origin.connections[0].transport.abortConnection()  # type: ignore[union-attr]
            return None
        return says(200, b"yes")

    origin.answer = close_after_one
    assert [ask(body).status, ask(body).status] == [200, 200]
    assert origin.accepted == 2


def test_one_that_always_closes_is_not_asked_for_ever(ask: Asking, origin: Origin) -> None:
    def close(request: bytes) -> None:
        for one in origin.connections:
            one.transport.abortConnection()  # type: ignore[union-attr]

    origin.answer = close
    assert str(ask(b"{}")) == "the connection closes without an answer"
    assert len(origin.requests) == 2


def test_a_body_that_is_too_long_is_none_and_costs_its_connection(ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: says(200, b"x" * 101)
    assert ask().body is None
    assert origin.connections == []
    origin.answer = lambda request: says(200, b"x" * 100)
    assert ask().body == b"x" * 100


def test_a_body_without_end_is_cut_off(ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100000
    assert ask().body is None
    assert origin.connections == []


def test_a_body_may_end_with_its_connection(ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nyes"
    assert ask().body == b"yes"


def test_a_body_that_breaks_off_is_no_answer(ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nyes"
    assert isinstance(ask(), UnansweredError)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 100 + b"\r\n"])
def test_what_is_no_http_is_no_answer(ask: Asking, origin: Origin, said: bytes) -> None:
    origin.answer = lambda request: said + b"\r\nConnection: close\r\n"
    assert str(ask()) == "the answer is no HTTP"


def test_who_does_not_want_to_know_any_more_hangs_up(turning: Turning, ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: None
    answer = ask.begin()
    turning.until(lambda: origin.requests, "the question")
    answer.addErrback(lambda _: None)
    answer.cancel()
    turning.until(lambda: not origin.connections, "the end of the connection")
    turning.settle()
    assert len(origin.requests) == 1


def test_also_in_the_middle_of_a_body(turning: Turning, ask: Asking, origin: Origin) -> None:
    origin.answer = lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"
    answer = ask.begin()
    turning.until(lambda: origin.requests, "the question")
    turning.settle()
    answer.addErrback(lambda _: None)
    answer.cancel()
    turning.until(lambda: not origin.connections, "the end of the connection")


def test_nobody_there_is_what_connecting_failed_with(turning: Turning) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "refused" in str(Asking(turning, f"http://127.0.0.1:{port}/")())


@needs_ipv6
def test_the_host_may_be_an_ipv6_address(turning: Turning) -> None:
    listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    listening.setblocking(False)
    answer = Asking(turning, f"http://[::1]:{listening.getsockname()[1]}/").begin()
    accepted: list[socket.socket] = []

    def accept() -> bool:
        with contextlib.suppress(BlockingIOError):
            accepted.append(listening.accept()[0])
        return bool(accepted)

    turning.until(accept, "the connection")
    accepted[0].sendall(says(200, b"yes", "Connection: close"))
    assert turning.result(answer).body == b"yes"
    accepted[0].close()
    listening.close()
    turning.settle()


def test_an_endpoint_leads_elsewhere(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, "http://auth.example/check", endpoint=f"tcp:127.0.0.1:{origin.port}")
    assert ask().body == b"yes"
    assert origin.requests[0].startswith(b"GET /check HTTP/1.1\r\n")
    assert b"\r\nHost: auth.example\r\n" in origin.requests[0]
    ask.close()


@pytest.mark.parametrize(
    ("url", "options", "told"),
    [
        ("http://x/", {"endpoint": "nonsense:1"}, 'endpoint: "nonsense:1" is no description of an endpoint'),
        ("http://x/", {"ca_file": "/etc/passwd"}, "ca_file: it is for https://"),
        ("https://x/", {"ca_file": "/nowhere"}, "ca_file: /nowhere: cannot be read: No such file"),
        ("https://x/", {"ca_file": "/etc/passwd"}, "ca_file: /etc/passwd: holds no certificates"),
    ],
)
def test_what_makes_no_sense_is_an_error(turning: Turning, url: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Asking(turning, url, **options)
    assert str(caught.value).startswith(told)
