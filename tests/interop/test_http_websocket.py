"""WebSocket through the proxy: a client and a server of the library ``websockets``, at either end of the tunnel."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.interop.ways import FreePort
from tests.loopback.web import Client, http_config

if TYPE_CHECKING:
    from tests.loopback.conftest import Proxy, StartProxy

BIG = bytes(range(256)) * 8192


def answer(client: ServerConnection) -> None:
    """Repeat what is said, until somebody says what else to do."""
    for message in client:
        match message:
            case "leave":
                client.close(4321, "as told")
            case "break off":
                client.socket.close()
                return
            case "greetings":
                for number in range(100):
                    client.send(f"greeting {number}")
            case _:
                client.send(message)


def refuse(client: ServerConnection, request: Request) -> Response | None:
    """Answer what is no WebSocket's business as a web server would."""
    if request.path == "/forbidden":
        return client.respond(403, "not here\n")
    return None


def choose(client: ServerConnection, offered: Sequence[str]) -> str | None:
    """Choose the one protocol that is spoken here."""
    return "chat" if "chat" in offered else None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    choices: Any = {"process_request": refuse, "select_subprotocol": choose}
    with serve(answer, "127.0.0.1", 0, max_size=None, **choices) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def port(free_port: FreePort) -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def running(server: Server, port: int, module_proxy: "StartProxy") -> "Proxy":
    own = server.socket.getsockname()[1]
    timeouts = {"client": "1s", "server": "1s", "tunnel": "60s"}
    return module_proxy(http_config(port, f"127.0.0.1:{own}", timeouts))


def through(port: int, path: str = "/chat", **more: Any) -> Any:
    return connect(f"ws://127.0.0.1:{port}{path}", proxy=None, max_size=None, open_timeout=10, **more)


@pytest.mark.parametrize("message", ["words", b"\0bytes\xff", "", BIG], ids=["text", "binary", "nothing", "2 MiB"])
@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_message_comes_back(message: str | bytes, compression: str | None, port: int) -> None:
    with through(port, compression=compression) as client:
        client.send(message)
        assert client.recv(timeout=10) == message


def test_pings_and_fragments_pass(port: int) -> None:
    with through(port) as client:
        assert client.ping("still there?").wait(10)
        client.send(iter(["a", "b", "c"]))
        assert client.recv(timeout=10) == "abc"


def test_a_subprotocol_is_chosen(port: int) -> None:
    with through(port, subprotocols=["other", "chat"]) as client:
        assert client.subprotocol == "chat"


def test_what_the_server_says_at_once_arrives_in_order(port: int) -> None:
    with through(port) as client:
        client.send("greetings")
        assert [client.recv(timeout=10) for _ in range(100)] == [f"greeting {number}" for number in range(100)]


def test_many_at_once_are_kept_apart(port: int) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(through(port)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(f"I am {number}")
        assert [client.recv(timeout=10) for client in clients] == [f"I am {number}" for number in range(20)]


def test_either_side_may_close(port: int, running: "Proxy") -> None:
    before = len(running.records(0))
    with through(port) as client:
        client.send("leave")
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as told")
    with through(port) as client:
        client.close()
        with pytest.raises(ConnectionClosedOK):
            client.recv(timeout=10)
    records = running.records(before + 2)[before:]
    assert [(record["status"], record["ending"]) for record in records] == [(101, "--")] * 2


def test_a_server_that_breaks_off_is_seen_to_break_off(port: int) -> None:
    with through(port) as client:
        client.send("break off")
        with pytest.raises(ConnectionClosedError):
            client.recv(timeout=10)


def test_a_server_that_refuses_answers_as_a_web_server(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused, through(port, "/forbidden"):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"not here\n"


def test_a_request_may_precede_the_upgrade_on_its_connection(port: int) -> None:
    with Client(port) as client:
        assert client.ask("/forbidden", "Connection: Upgrade", "Upgrade: websocket", KEY, VERSION)[0] == 403
        answer = client.send(UPGRADE).socket.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"
UPGRADE = "\r\n".join(
    ("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", KEY, VERSION, "", "")
).encode()


def test_what_follows_the_upgrade_is_not_read_as_a_request(port: int) -> None:
    # A masked frame that spells a request: it belongs to the tunnel, and comes back as it went.
    said = b"GET /forbidden HTTP/1.1\r\nHost: a\r\n\r\n"
    frame = bytes([0x81, 0x80 | len(said)]) + bytes(4) + said
    with Client(port) as client:
        client.send(UPGRADE + frame)
        heard = b""
        while not heard.endswith(said):
            data = client.socket.recv(65536)
            assert data, heard
            heard += data
        assert b"403" not in heard
