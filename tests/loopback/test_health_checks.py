"""Health checks of real servers: those that die are avoided until they are back; what servers get to see of checks."""

import socket
from typing import Any

import pytest

from tests.loopback.servers import Echo, Server, ask, connect, echo, hear

QUICK = {"interval": "50ms", "timeout": "2s", "rise": 2, "fall": 2}
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
"""A header of version 2 that names no addresses, whole. Source: proxy-protocol.txt, section 2.2."""
UNKNOWN = b"PROXY UNKNOWN\r\n"


def checked(config: dict[str, Any], **of_backend: Any) -> dict[str, Any]:
    config["backends"]["app"] |= {"check": QUICK, **of_backend}
    return config


def test_a_server_that_dies_is_avoided_and_taken_again_when_it_is_back(
    proxy: Any, tcp_config: Any, free_port: Any
) -> None:
    port, dying_port = free_port(), free_port()
    dying = Echo(("127.0.0.1", dying_port), greeting=b"dying ")
    with echo(b"sound ") as sound:
        running = proxy(checked(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{dying_port}", f"127.0.0.1:{sound.port}")))
        assert {ask(port), ask(port)} == {b"dying ping", b"sound ping"}
        with connect(port) as first, connect(port) as second:
            live = {one.recv(6): one for one in (first, second)}
            dying.close()
            running.wait_for_stderr("server app/s1 is down: 2 checks in a row failed, the last: Connection refused")
            assert [ask(port) for _ in range(6)] == [b"sound ping"] * 6
            live[b"dying "].sendall(b"still here")
            live[b"dying "].shutdown(socket.SHUT_WR)
            assert hear(live[b"dying "]) == b"still here", "a live connection ended with the state"
        again = Echo(("127.0.0.1", dying_port), greeting=b"back ")
        running.wait_for_stderr("server app/s1 is up: 2 checks in a row went well")
        assert {ask(port), ask(port)} == {b"back ping", b"sound ping"}
        again.close()
        assert all(record["retries"] == 0 for record in running.records(12)), "somebody was sent to the dead server"


def test_without_any_server_left_a_connection_ends_at_once_and_says_why(
    proxy: Any, tcp_config: Any, free_port: Any
) -> None:
    port = free_port()
    running = proxy(checked(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")))
    running.wait_for_stderr("backend app has no usable server left")
    assert ask(port) == b""
    (record,) = running.records(1)
    assert (record["ending"], record["stage"], record["server"]) == ("SC", "balance", "<NOSRV>")
    assert record["reason"] == "backend app has no usable server"


@pytest.mark.parametrize(("version", "header"), [("v2", LOCAL), ("v1", UNKNOWN)])
@pytest.mark.parametrize("prefix", ["", "tcp:"])
def test_a_check_says_a_header_without_a_client_and_no_more(
    proxy: Any, tcp_config: Any, free_port: Any, wait: Any, version: str, header: bytes, prefix: str
) -> None:
    heard: list[bytes] = []
    server = Server(lambda client: heard.append(hear(client)))
    config = tcp_config(f"127.0.0.1:{free_port()}", f"{prefix}127.0.0.1:{server.port}")
    running = proxy(checked(config, send_proxy=version, check_send_proxy=True))
    wait(lambda: len(heard) >= 3, "three checks")
    running.stop()
    server.close()
    assert set(heard) == {header}
    assert "is down" not in running.stderr()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_listener_of_ours_that_requires_headers_does_not_complain_about_checks_that_send_one(
    proxy: Any, tcp_config: Any, free_port: Any, version: str
) -> None:
    behind, with_header, without = free_port(), free_port(), free_port()
    with echo() as server:
        receiving = proxy(tcp_config(f"127.0.0.1:{behind}", f"127.0.0.1:{server.port}", accept_proxy=True))
        config = tcp_config(f"127.0.0.1:{with_header}", f"127.0.0.1:{behind}")
        sending = proxy(checked(config, send_proxy=version, check_send_proxy=True))
        assert {record["stage"] for record in receiving.records(3)}.isdisjoint({"admission", "proxy_header"})
        assert ask(with_header) == b"ping"
        sending.stop()
        before = len(receiving.records(3))
        # The same without the header: the listener tells the two apart.
        proxy(checked(tcp_config(f"127.0.0.1:{without}", f"127.0.0.1:{behind}"), send_proxy=version))
        assert "proxy_header" in {record["stage"] for record in receiving.records(before + 3)}


def test_a_reload_keeps_the_state_until_nothing_is_checked_any_more(
    proxy: Any, tcp_config: Any, free_port: Any
) -> None:
    port, dead = free_port(), free_port()
    with echo(b"sound ") as sound:
        config = checked(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{dead}", f"127.0.0.1:{sound.port}"))
        running = proxy(config)
        running.wait_for_stderr("server app/s1 is down")
        running.reload({**config, "process": {"graceful_stop": "3s"}})
        assert [ask(port) for _ in range(4)] == [b"sound ping"] * 4
        assert running.stderr().count("server app/s1 is down") == 1
        running.reload(checked(config, check=False))
        assert "server app/s1 is up: it is not checked any more" in running.stderr()
