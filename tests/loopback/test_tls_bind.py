"""A bind through Twisted's ``ssl:`` endpoint: what ends before the relay is closed, and costs nothing afterwards."""

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.interop.certificates import certificate

pytestmark = pytest.mark.linux


def connect(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


def test_a_client_that_is_refused_is_gone_whatever_it_goes_on_sending(
    proxy: Any, free_port: Any, wait: Any, tmp_path: Path
) -> None:
    """Seen: Twisted's TLS waited for the client's goodbye, and all that it sent meanwhile was kept."""
    pem = certificate("localhost", tmp_path / "both.pem")
    port = free_port()
    running = proxy(
        {
            "frontends": {
                "tls": {
                    "bind": [f"ssl:{port}:privateKey={pem}:interface=127.0.0.1"],
                    "backend": "app",
                    "validators": [{"use": "payload", "starts_with": "GOOD"}],
                }
            },
            "backends": {"app": {"servers": {"a": "127.0.0.1:9"}}},
        }
    )
    before = running.sockets()
    clients = [connect(port) for _ in range(5)]
    for client in clients:
        client.send(b"BAD!")
    records = running.records(5)
    assert {(record["ending"], record["stage"]) for record in records} == {("PR", "validation")}
    wait(lambda: running.sockets() == before, "the refused connections are closed")
    with pytest.raises(OSError):  # noqa: PT011  which one depends on what the kernel says first
        clients[0].sendall(b"x" * 16_000_000)
    for client in clients:
        client.close()


def test_a_farewell_passes_through_tls_and_is_not_waited_for_for_ever(
    proxy: Any, free_port: Any, wait: Any, tmp_path: Path
) -> None:
    pem = certificate("localhost", tmp_path / "both.pem")
    farewells = {free_port(): farewell for farewell in ("", "bye")}
    frontends = {
        f"tls{port}": {
            "bind": [f"ssl:{port}:privateKey={pem}:interface=127.0.0.1"],
            "backend": "app",
            "validators": [{"use": "watcher", "begins": "GOOD", "how": "close", "farewell": farewell}],
        }
        for port, farewell in farewells.items()
    }
    running = proxy(
        {
            "plugins": ["lb_watcher"],
            "frontends": frontends,
            "backends": {"app": {"servers": {"a": "127.0.0.1:9"}}},
        },
        before=["env", f"PYTHONPATH={Path(__file__).parent}"],
    )
    before = running.sockets()
    with contextlib.ExitStack() as stack:
        clients = {port: stack.enter_context(connect(port)) for port in farewells}
        for port, client in clients.items():
            client.send(b"BAD!")
            assert client.recv(100) == farewells[port].encode()
            if farewells[port]:
                assert client.recv(100) == b""
        assert running.sockets() == before + len(clients)
        for client in clients.values():
            with contextlib.suppress(OSError):
                client.sendall(b"x" * 16_000_000)
        wait(lambda: running.sockets() == before, "the refused connections are closed")
