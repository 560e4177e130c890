"""``payload`` over real sockets: what a client may say before the server answers, over every kind of transport."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.servers import Server, connect

KINDS = pytest.mark.parametrize("kind", ["stream", "endpoint"])
VALIDATOR = {"use": "payload", "matches": "^GAME [0-9]+\n", "within_bytes": 16, "max_length": 20, "min_length": 8}


def answer_later(client: socket.socket) -> None:
    """Answer the first full stop, and then repeat everything."""
    while data := client.recv(65536):
        if b"." in data:
            client.sendall(b"answer")
            break
    while data := client.recv(65536):
        client.sendall(data)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server(answer_later)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    return {kind: free_port() for kind in ("stream", "endpoint")}


@pytest.fixture(scope="module")
def running(module_proxy: Any, server: Server, ports: dict[str, int]) -> Any:
    binds = {"stream": f"127.0.0.1:{ports['stream']}", "endpoint": f"tcp:{ports['endpoint']}:interface=127.0.0.1"}
    return module_proxy(
        {
            "frontends": {
                kind: {"bind": bind, "backend": "app", "validators": [VALIDATOR]} for kind, bind in binds.items()
            },
            "backends": {"app": {"servers": {"a": f"127.0.0.1:{server.port}"}}},
        }
    )


def hear(client: socket.socket, until: bytes = b"") -> bytes:
    """What comes until it ends so, or altogether."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while not (until and heard.endswith(until)) and (data := client.recv(65536)):
            heard += data
    return heard


def reason(running: Any, client_port: int) -> str:
    count = 1
    while True:
        records = running.records(count)
        for record in records:
            if record["source_port"] == client_port:
                return str(record["reason"])
        count = len(records) + 1


@KINDS
def test_after_an_answer_the_client_may_say_what_it_likes(kind: str, running: Any, ports: dict[str, int]) -> None:
    with connect(("127.0.0.1", ports[kind])) as client:
        client.sendall(b"GAME 17\nplease.")
        assert hear(client, b"answer") == b"answer"
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert hear(client) == b"x" * 100_000


@KINDS
@pytest.mark.parametrize("pieces", [(b"GAME 17\nplease, please.",), (b"GAME 17\n", b"please, please.")])
def test_before_that_it_may_say_so_much(
    kind: str, pieces: tuple[bytes, ...], running: Any, ports: dict[str, int]
) -> None:
    with connect(("127.0.0.1", ports[kind])) as client:
        port = client.getsockname()[1]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        assert hear(client) == b""
    assert reason(running, port) == "validator payload: payload-long"


@KINDS
def test_what_is_something_else_never_reaches_the_server(
    kind: str, running: Any, server: Server, ports: dict[str, int]
) -> None:
    accepted = server.accepted
    for said in (b"GAME x", b"GAME 1234567890123", b"GET / HTTP/1.1\r\n\r\n"):
        with connect(("127.0.0.1", ports[kind])) as client:
            port = client.getsockname()[1]
            client.sendall(said)
            assert hear(client) == b""
        assert reason(running, port) == "validator payload: payload-mismatch"
    assert server.accepted == accepted
