"""SIGTERM, SIGINT and SIGUSR1, as a supervisor sends them. The fixture checks that each proxy ends with status 0."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.servers import Echo, ask, connect, echo, hear


@pytest.fixture
def server() -> Iterator[Echo]:
    with echo(b"hello") as made:
        yield made


@pytest.fixture
def begun(proxy: Any, tcp_config: Any, free_port: Any, server: Echo) -> Any:
    """Start a proxy with one live connection: the proxy, its port and the client."""

    def begin(**process: Any) -> tuple[Any, int, socket.socket]:
        port = free_port()
        running = proxy({**tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}"), "process": process})
        client = connect(port)
        assert client.recv(5) == b"hello"
        return running, port, client

    return begin


def refused(port: int) -> bool:
    """Whether nobody listens on ``port``."""
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_live_connections_finish(begun: Any, wait: Any, number: signal.Signals) -> None:
    running, port, client = begun(graceful_stop="60s")
    os.kill(running.pid, number)
    running.wait_for_stderr("stopping: 1 connections may finish within 60")
    wait(lambda: refused(port), "no new connections")
    client.sendall(b"the rest")
    client.shutdown(socket.SHUT_WR)
    assert hear(client) == b"the rest"
    assert running.process.wait(10) == 0
    assert [record["ending"] for record in running.records(1)] == ["--"]


def test_a_stop_without_connections_is_done_at_once(begun: Any) -> None:
    running, _, client = begun(graceful_stop="60s")
    client.close()
    running.records(1)
    os.kill(running.pid, signal.SIGTERM)
    assert running.process.wait(10) == 0


def test_after_the_grace_what_is_left_is_ended(begun: Any) -> None:
    running, _, client = begun(graceful_stop="300ms")
    started = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    assert hear(client) == b""
    assert running.process.wait(10) == 0
    assert time.monotonic() - started >= 0.29
    (record,) = running.records(1)
    assert (record["ending"], record["reason"]) == ("KD", "the process stops")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_what_is_left_at_once(begun: Any, second: signal.Signals) -> None:
    running, _, client = begun(graceful_stop="60s")
    os.kill(running.pid, signal.SIGTERM)
    running.wait_for_stderr("stopping: 1 connections")
    os.kill(running.pid, second)
    assert hear(client) == b""
    assert running.process.wait(10) == 0
    assert [record["ending"] for record in running.records(1)] == ["KD"]


def test_a_reload_while_it_stops_is_refused(begun: Any) -> None:
    running, port, client = begun(graceful_stop="60s")
    os.kill(running.pid, signal.SIGTERM)
    running.wait_for_stderr("stopping: 1 connections")
    os.kill(running.pid, signal.SIGHUP)
    running.wait_for_stderr("no reload: the process is stopping")
    assert refused(port)
    client.close()
    assert running.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_logs_are_begun_anew_after_a_rotation(begun: Any, wait: Any, number: signal.Signals) -> None:
    running, port, client = begun(log_file="stderr.txt")  # that is where the fixture looks
    client.close()
    running.records(1)
    running.errors.rename(running.folder / "stderr.1")
    running.log.rename(running.folder / "access.json.1")
    os.kill(running.pid, number)
    wait(lambda: running.errors.exists() and running.log.exists(), "new files")
    assert ask(port) == b"helloping"
    assert [record["ending"] for record in running.records(1)] == ["--"]
    assert "serving on" in (running.folder / "stderr.1").read_text()
    os.kill(running.pid, signal.SIGTERM)
    assert running.process.wait(10) == 0
    assert "stderr.1" not in running.stderr()
    assert "shut down" in running.stderr().lower()


def test_many_signals_at_once_do_no_harm(begun: Any) -> None:
    running, port, client = begun(graceful_stop="60s")
    for _ in range(20):
        os.kill(running.pid, signal.SIGHUP)
        os.kill(running.pid, signal.SIGUSR1)
    assert ask(port) == b"helloping"
    running.wait_for_stderr("reloaded; serving on")
    client.close()
