"""Messages that break a rule are kept, logged at level debug, and told to observers, with their bytes."""

from typing import Any

from twisted.logger import LogEvent, formatEvent

from tests.http_sessions.conftest import HttpWorld, world
from twisted_lb.frontend import KEPT_REFUSED

__all__ = ["world"]


class Watches:
    """An observer of refused messages."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def message_refused(self, facts: Any, message: Any) -> None:
        self.told.append(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_a_request_is_shown_with_its_mark(world: HttpWorld, logged: list[LogEvent]) -> None:
    watches = Watches()
    upstream, client = world.site(observers=[watches])
    client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    (message,) = watches.told
    assert (message.reason, message.offset, message.server) == ("http1-space-before-colon", 20, "")
    assert message.excerpt == b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"
    assert upstream.peers == []
    (event,) = [event for event in logged if "message" in event and event["log_level"].name == "debug"]
    assert "Host : x" in formatEvent(event)


def test_a_response_names_its_server(world: HttpWorld) -> None:
    watches = Watches()
    upstream, client = world.site(observers=[watches])
    world.ask(client, upstream).send(b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n")
    (message,) = watches.told
    assert message.server.startswith("app/")
    assert message.excerpt.startswith(b"HTTP/1.1 200 OK")


def test_a_body_is_marked_where_it_goes_wrong(world: HttpWorld) -> None:
    watches = Watches()
    _, client = world.site(observers=[watches])
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    client.send(b"zz\r\n")
    (message,) = watches.told
    assert (message.reason, message.offset) == ("http1-chunk-size", 10)
    assert message.excerpt[message.offset - message.excerpt_at :].startswith(b"zz")


def test_the_last_ones_are_kept(world: HttpWorld) -> None:
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream))
    assert frontend.http is not None
    for number in range(KEPT_REFUSED + 3):
        world.client(frontend).send(b"GET /%d HTTP/1.1\r\n\r\n" % number)
    kept = [message.excerpt.split()[1] for message in frontend.http.refused]
    assert kept == [b"/%d" % number for number in range(3, KEPT_REFUSED + 3)]
