"""Early ends of requests: who is answered, and how a client is told that a response is cut short."""

import socket

import pytest

from tests.http_sessions.conftest import GET, HttpWorld, Said, world
from tests.sessions.conftest import Sockets
from twisted_lb.endings import Cause
from twisted_lb.http_endings import STATUS
from twisted_lb.stages.answers import REASONS

__all__ = ["world"]


def test_every_status_that_is_answered_is_a_refusal_and_has_a_reason() -> None:
    for status in STATUS.values():
        assert 400 <= status < 600
        assert REASONS[status]


def test_who_is_gone_is_never_looked_up() -> None:
    assert not {cause for _, cause in STATUS} & {Cause.CLIENT, Cause.KILLED, Cause.NORMAL}


def hear_all(sock: socket.socket) -> bytes:
    """Read up to the end of stream. Raises: ConnectionResetError."""
    heard = b""
    while more := sock.recv(65536):
        heard += more
    return heard


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_response_cut_short_never_looks_whole(version: str) -> None:
    world = HttpWorld("streams")
    upstream, client = world.site()
    assert isinstance(client, Sockets)
    server = world.ask(client, upstream, GET.replace(b"1.1", version.encode()))
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    server.finish()
    heard, was_reset = b"", False
    try:
        while more := client._sock.recv(65536):
            heard += more
    except ConnectionResetError:
        was_reset = True
    finally:
        client._sock.close()
    if version == "1.1":
        assert not was_reset, "the missing last chunk says it, and nothing of what came is lost"
        assert heard.endswith(b"\r\n\r\n5\r\nab")
    else:
        # A Unix socket knows no RST of its own making: over TCP the client of HTTP/1.0 would see one.
        assert b"0\r\n\r\n" not in heard
    world.turn()
    world.assert_empty()
    world.close()


def test_an_answer_of_ours_keeps_the_connection_if_the_whole_request_was_read(world: HttpWorld) -> None:
    client = world.client(world.frontend(world.backend(world.upstream(weight=0))))
    said = Said(client)
    for _ in range(3):
        client.send(GET)
        answer = said()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Connection: close" not in answer
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    assert b"Connection: close\r\n" in said()
    assert client.ended()
    client.finish()


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_an_answer_to_head_has_no_body(world: HttpWorld, method: bytes) -> None:
    client = world.client(world.frontend(world.backend(world.upstream(weight=0))))
    client.send(GET.replace(b"GET", method))
    head, _, body = client.read().partition(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert bool(body) is (method == b"GET")


def test_over_tcp_a_client_of_http_10_sees_a_reset_where_a_body_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HttpWorld("streams")
    listening = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listening.getsockname())
    ours, _ = listening.accept()
    listening.close()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", lambda: (ours, theirs))
        upstream, client = world.site()
    server = world.ask(client, upstream, GET.replace(b"1.1", b"1.0"))
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    server.finish()
    world.wait(0.1)
    assert isinstance(client, Sockets)
    client._sock.setblocking(True)
    with pytest.raises(ConnectionResetError):
        hear_all(client._sock)
    client._sock.close()
    world.turn()
    world.assert_empty()
    world.close()
