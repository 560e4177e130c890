"""Servers that say more than they were asked, or less: no client is ever given what belongs to another.

Each server is a script; the proxy shares connections to it among all clients, which is what there is to poison.
"""

import contextlib
import functools
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.conftest import wait_until
from tests.loopback.servers import hear
from tests.loopback.traffic import reset_on_close
from tests.loopback.web import Client, Script, get, say, statuses, tell

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy

LEVELS = ("safe", "aggressive", "always")
MOST = 64
"""How many tests there is room for."""
SECRET = say(b"for somebody else")


class Place:
    """A frontend of the proxy's with a backend of its own, whose server is not there yet."""

    def __init__(self, name: str, reuse: str, port: int, server: int) -> None:
        self.name, self.reuse, self.port, self.server = name, reuse, port, server


class Places:
    """One proxy for all tests, and what of it is not used yet."""

    def __init__(self, start: "StartProxy", free_port: "FreePort") -> None:
        names = [(f"{reuse}-{number}", reuse) for reuse in LEVELS for number in range(MOST if reuse == "always" else 6)]
        self.free = [Place(name, reuse, free_port(), free_port()) for name, reuse in names]
        config: dict[str, Any] = {"frontends": {}, "backends": {}}
        config["defaults"] = {"timeouts": {"server": "2s", "client": "5s", "http_request": "5s"}}
        for one in self.free:
            bind = f"127.0.0.1:{one.port}"
            config["frontends"][one.name] = {"bind": bind, "mode": "http", "backend": one.name}
            server = {"s1": f"127.0.0.1:{one.server}"}
            config["backends"][one.name] = {"servers": server, "http_reuse": one.reuse}
        self.running = start(config)

    def take(self, reuse: str) -> Place:
        """Return one with that level of reuse, which no other test gets."""
        place = next(one for one in self.free if one.reuse == reuse)
        self.free.remove(place)
        return place

    def records(self, place: Place, count: int) -> list[dict[str, Any]]:
        """Wait for the records of so many requests."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.running.records(0) if one["frontend"] == place.name]

        wait_until(lambda: len(found()) >= count, f"{count} records")
        return found()


Records = Callable[[int], list[dict[str, Any]]]
Begin = Callable[..., tuple[Records, int, Script]]
"""Gives what waits for so many records, the proxy's port, and the server."""


@pytest.fixture(scope="module")
def places(module_proxy: "StartProxy", free_port: "FreePort") -> Places:
    return Places(module_proxy, free_port)


@pytest.fixture
def begin(places: Places) -> Iterator[Begin]:
    """Have a server behind the proxy that answers as the arguments say."""
    servers: list[Script] = []

    def start(*answers: Any, reuse: str = "always") -> tuple[Records, int, Script]:
        place = places.take(reuse)
        servers.append(Script(*answers, port=place.server))
        return functools.partial(places.records, place), place.port, servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(port: int, target: str = "/", method: str = "GET") -> tuple[int, bytes]:
    """Be a new client that asks for one thing."""
    with Client(port) as client:
        status, _, body = client.ask(target, method=method)
    return status, body


TWICE = {
    "in one piece": say(b"one") + SECRET,
    "behind a chunked body": say(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + SECRET,
    "behind no body": say(b"", status=b"204 None").replace(b"Content-Length: 0\r\n", b"") + SECRET,
    "one byte": say(b"one") + b"H",
    "an empty line": say(b"one") + b"\r\n",
    "an interim response": say(b"one") + b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("reuse", ["safe", "aggressive", "always"])
def test_what_comes_behind_a_response_is_never_read(name: str, reuse: str, begin: Begin) -> None:
    records, port, server = begin(TWICE[name], say(b"two"), reuse=reuse)
    assert ask(port)[0] in (200, 204)
    assert ask(port) == (200, b"two")
    assert server.accepted == 2, "the spoilt connection was used again"
    assert [record["ending"] for record in records(2)] == ["--", "--"]


def test_what_comes_behind_a_response_is_not_read_by_the_same_client_either(begin: Begin) -> None:
    _, port, server = begin(TWICE["in one piece"], say(b"two"))
    with Client(port) as client:
        assert client.ask("/")[2] == b"one"
        assert client.ask("/")[2] == b"two"
    assert server.accepted == 2


def test_the_body_of_a_response_to_head_is_no_response_to_anybody(begin: Begin) -> None:
    _, port, server = begin(SECRET, say(b"two"))
    assert ask(port, method="HEAD") == (200, b"")
    assert ask(port) == (200, b"two")
    assert server.accepted == 2


def test_the_body_of_a_304_is_no_response_to_anybody(begin: Begin) -> None:
    _, port, server = begin(say(b"HTTP/1.1 200 OK\r\n\r\n", status=b"304 Not Modified"), say(b"two"))
    assert ask(port) == (304, b"")
    assert ask(port) == (200, b"two")
    assert server.accepted == 2


@pytest.mark.parametrize("unasked", [SECRET, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b"\0"])
def test_a_connection_on_which_the_server_speaks_unasked_is_closed(unasked: bytes, begin: Begin, wait: Any) -> None:
    idle: list[socket.socket] = []

    def keep(client: socket.socket) -> None:
        idle.append(client)  # before the answer, which somebody waits for to go on
        client.sendall(say(b"one"))

    _, port, server = begin(keep, say(b"two"))
    assert ask(port) == (200, b"one")
    idle[0].sendall(unasked)
    assert ask(port) == (200, b"two")
    assert server.accepted == 2
    with contextlib.suppress(OSError):  # the script's own thread reads too; whoever is first hears the end
        assert hear(idle[0]) == b""


def test_what_a_server_says_when_it_is_asked_again_is_the_answer_to_that(begin: Begin) -> None:
    # Nobody can tell such a server from one that answers quickly: but it answers who asked it, over its connection.
    _, port, server = begin(say(b"one"), say(b"two") + SECRET, say(b"three"))
    assert [ask(port) for _ in range(3)] == [(200, b"one"), (200, b"two"), (200, b"three")]
    assert server.accepted == 2


def test_a_client_that_leaves_takes_its_response_with_it(begin: Begin, wait: Any) -> None:
    held: list[socket.socket] = []
    records, port, server = begin(held.append, say(b"two"))
    with Client(port) as client:
        client.send(get("/first"))
        wait(lambda: held, "the first request")
        reset_on_close(client.socket)
    records(1)
    with contextlib.suppress(OSError):
        held[0].sendall(SECRET)
    assert ask(port) == (200, b"two")
    assert server.accepted == 2


def test_a_client_that_leaves_in_the_middle_of_its_upload_leaves_no_connection_behind(begin: Begin, wait: Any) -> None:
    records, port, server = begin(lambda client: None, say(b"two"))
    with Client(port) as client:
        client.send(get("/first", "Content-Length: 100", method="POST") + b"GET /smuggled HTTP/1.1\r\n")
        wait(lambda: server.heads, "the first request")
        reset_on_close(client.socket)
    assert records(1)[0]["ending"].startswith("C")
    assert ask(port) == (200, b"two")
    assert server.accepted == 2


@pytest.mark.parametrize("rest", [b"x" * 30, b"GET /smuggled HTTP/1.1\r\n" + b"\r\n" * 3])
def test_a_response_that_comes_before_the_request_is_whole_ends_the_server_s_connection(
    rest: bytes, begin: Begin
) -> None:
    _, port, server = begin(say(b"early", status=b"413 Too Large"), say(b"two"), say(b"three"))
    with Client(port) as client:
        client.send(get("/first", "Content-Length: 40", method="POST") + b"x" * 10)
        assert client.response("POST")[::2] == (413, b"early")
        client.send(rest + get("/second"))
        assert client.response()[2] == b"two", "what came was the rest of the body, and nothing else"
    assert ask(port) == (200, b"three")
    assert server.accepted == 2
    assert [head.split()[1] for head in server.heads] == [b"/first", b"/second", b"/"]


@pytest.mark.parametrize("status", [b"200 OK", b"417 Expectation Failed", b"404 Not Found"])
def test_a_body_that_the_server_did_not_wait_for_is_no_request(status: bytes, begin: Begin) -> None:
    # 0.CL by expectation: the server answers the head alone, and whoever forgets the body takes it for a request.
    _, port, server = begin(say(b"early", status=status), say(b"two"))
    with Client(port) as client:
        body = get("/smuggled")
        client.send(get("/first", "Expect: 100-continue", f"Content-Length: {len(body)}", method="POST"))
        assert client.response("POST")[2] == b"early"
        with contextlib.suppress(OSError):
            client.send(body)
        assert client.is_closed()
    assert ask(port) == (200, b"two")
    assert [head.split()[1] for head in server.heads] == [b"/first", b"/"]
    assert server.accepted == 2


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


@pytest.mark.parametrize("status", [b"426 Upgrade Required", b"200 OK", b"503 Unavailable"])
def test_an_upgrade_that_the_server_refuses_leaves_no_tunnel(status: bytes, begin: Begin) -> None:
    # Who takes the request for the change lets the client talk to the server by itself, past every rule.
    _, port, server = begin(say(b"no", status=status), say(b"two"))
    with Client(port) as client:
        assert client.ask("/chat", *UPGRADE, "Sec-WebSocket-Version: 1337")[2] == b"no"
        assert client.send(get("/smuggled", "Host: internal")).response()[0] == 400
    assert len(server.heads) == 1


def test_a_tunnel_that_the_server_accepts_wrongly_is_none(begin: Begin) -> None:
    wrong = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    _, port, _ = begin(wrong + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n", say(b"two"))
    with Client(port) as client:
        assert client.ask("/chat", *UPGRADE, "Sec-WebSocket-Version: 13")[0] == 502
    assert ask(port) == (200, b"two")


@pytest.mark.parametrize("status", [b"200 OK", b"405 Not Allowed"])
def test_a_tunnel_s_connection_is_never_used_again(status: bytes, begin: Begin) -> None:
    _, port, server = begin(say(b"", status=status), say(b"two"))
    with Client(port) as client:
        client.send(b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
        assert client.response("CONNECT")[0] == int(status[:3])
    assert ask(port) == (200, b"two")
    assert server.accepted == (2 if status.startswith(b"200") else 1)


def test_pipelined_requests_get_their_own_responses_in_order(begin: Begin) -> None:
    _, port, server = begin(*(say(b"%d" % number) for number in range(20)))
    with Client(port) as client:
        client.send(b"".join(get(f"/{number}") for number in range(20)))
        assert [client.response()[2] for _ in range(20)] == [b"%d" % number for number in range(20)]
    assert [head.split()[1] for head in server.heads] == [b"/%d" % number for number in range(20)]


BAD: dict[str, bytes] = {
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "a body without a head": b"for somebody else",
    "another version": say(b"one").replace(b"HTTP/1.1", b"HTTP/3.0"),
    "a status of four digits": say(b"one", status=b"2000 OK"),
    "two lengths": say(b"one", b"Content-Length: 50"),
    "a length with a sign": say(b"one").replace(b": 3", b": +3"),
    "a coding twice": say(b"one", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    "a coding that is none": say(b"one", b"Transfer-Encoding: gzip"),
    "a blank before the colon": say(b"one", b"Set-Cookie : a=b"),
    "a bare CR": say(b"one", b"X: y\rContent-Length: 50"),
    "a bare LF": say(b"one", b"X: y\nContent-Length: 50"),
    "a NUL": say(b"one", b"X: \0"),
    "an upgrade that nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"
    + SECRET,
    "interim responses without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + say(b"one"),
    "a head without an end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_response_that_can_be_read_in_two_ways_is_replaced_and_its_connection_closed(name: str, begin: Begin) -> None:
    records, port, server = begin(BAD[name] + SECRET, say(b"two"))
    with Client(port) as client:
        status, _, body = client.ask("/")
        assert status == 502
        assert b"somebody else" not in body
        assert client.ask("/")[::2] == (200, b"two")
    assert server.accepted == 2
    record = records(2)[0]
    assert (record["ending"], record["status"]) == ("PH", 502)


def test_a_second_status_line_in_a_field_is_a_field_or_nothing(begin: Begin) -> None:
    # Response splitting: what a server was made to repeat in a field. As a whole line it must break the head.
    _, port, _ = begin(say(b"one", b"Location: /\r\nHTTP/1.1 200 OK"), say(b"two"))
    assert ask(port)[0] == 502
    assert ask(port) == (200, b"two")


SHORT = {
    "a length": say(b"one").replace(b": 3", b": 30"),
    "chunks": say(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"ff\r\none",
    "a chunk that ends elsewhere": say(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    + b"3\r\noneX0\r\n\r\n"
    + SECRET,
}


@pytest.mark.parametrize("name", SHORT)
def test_a_response_that_breaks_off_is_seen_to_break_off(name: str, begin: Begin) -> None:
    def half(client: socket.socket) -> None:
        client.sendall(SHORT[name])
        client.shutdown(socket.SHUT_WR)

    _, port, _ = begin(half, say(b"two"))
    heard = tell(port, get("/"))
    assert statuses(heard) == [200]
    assert not heard.endswith(b"0\r\n\r\n"), "it looks whole"
    assert b"somebody else" not in heard
    assert ask(port) == (200, b"two")


def test_a_server_that_closes_an_idle_connection_costs_no_client_its_request(begin: Begin) -> None:
    def once(client: socket.socket) -> None:
        client.sendall(say(b"one"))
        client.shutdown(socket.SHUT_RDWR)

    _, port, _ = begin(once)
    assert [ask(port) for _ in range(20)] == [(200, b"one")] * 20


def test_a_request_that_changes_something_is_never_sent_twice(begin: Begin, wait: Any) -> None:
    def leave(client: socket.socket) -> None:
        client.shutdown(socket.SHUT_RDWR)

    records, port, server = begin(say(b"one"), leave, say(b"three"))
    assert ask(port) == (200, b"one")
    with Client(port) as client:
        assert client.ask("/pay", method="POST", body=b"x")[0] == 502
    assert [head.split()[0] for head in server.heads] == [b"GET", b"POST"]
    assert ask(port) == (200, b"three")
    assert [record["ending"] for record in records(3)] == ["--", "SH", "--"]


def test_a_request_that_changes_nothing_is_sent_once_more_if_its_connection_had_been_used(begin: Begin) -> None:
    def leave(client: socket.socket) -> None:
        client.shutdown(socket.SHUT_RDWR)

    _, port, server = begin(say(b"one"), leave, say(b"three"))
    assert ask(port) == (200, b"one")
    assert ask(port) == (200, b"three")
    assert server.accepted == 2
