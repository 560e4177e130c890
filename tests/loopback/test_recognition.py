"""The bundled validators share a port: each client is recognised, and goes where its protocol leads."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.servers import connect, echo

GREETINGS = {
    "tls": b"\x15\x03\x03\x00\x02\x02\x28",  # a fatal alert, which is all that a server need say
    "ssh": b"SSH-2.0-server\r\n",
    "http1": b"HTTP/1.1 204 No Content\r\n\r\n",
    "smtp": b"220 mail.example ESMTP\r\n",
}


def client_hello() -> bytes:
    """What a client of TLS begins with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="www.example.org")
    with contextlib.suppress(ssl.SSLWantReadError):
        wrapped.do_handshake()
    return outgoing.read()


FIRST_WORDS = {
    "tls": client_hello(),
    "ssh": b"SSH-2.0-client\r\n",
    "http1": b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
    "smtp": b"",
}


@pytest.fixture(scope="module", params=["stream", "endpoint"])
def port(request: pytest.FixtureRequest, module_proxy: Any, free_port: Any) -> Iterator[tuple[int, Any]]:
    found = free_port()
    with contextlib.ExitStack() as servers:
        backends = {
            name: {"servers": {"s": f"127.0.0.1:{servers.enter_context(echo(greeting)).port}"}}
            for name, greeting in GREETINGS.items()
        }
        frontend = {
            "bind": f"127.0.0.1:{found}" if request.param == "stream" else f"tcp:{found}:interface=127.0.0.1",
            "backend": "http1",
            "timeouts": {"inspect": "300ms"},
            "validators": [{"any_of": [{"use": "tls", "min_version": "1.2"}, "ssh", "http1", "smtp"]}],
            "routes": [{"facts": {"protocol": name}, "backend": name} for name in ("tls", "ssh", "smtp")],
        }
        yield found, module_proxy({"frontends": {"web": frontend}, "backends": backends})


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("protocol", FIRST_WORDS)
def test_each_client_reaches_the_server_of_its_protocol(port: tuple[int, Any], protocol: str, size: int) -> None:
    said = FIRST_WORDS[protocol]
    with connect(port[0]) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(said), size):
            client.sendall(said[at : at + size])
        heard = b""
        while len(heard) < len(GREETINGS[protocol]):
            piece = client.recv(len(GREETINGS[protocol]) - len(heard))
            assert piece, f"the end after {heard!r}"
            heard += piece
    assert heard == GREETINGS[protocol]


def test_who_speaks_none_of_them_is_refused_in_the_name_of_all(port: tuple[int, Any], wait: Any) -> None:
    with connect(port[0]) as client:
        client.sendall(b"\0\0\0\0 what is this\r\n\r\n")
        while client.recv(1000):
            pass  # a farewell, perhaps

    def refused() -> list[dict[str, Any]]:
        return [one for one in port[1].records(0) if one["ending"] == "PR"]

    reason = wait(refused, "the record")[-1]["reason"]
    assert [name for name in GREETINGS if f"validator {name}: " in reason] == list(GREETINGS)
