"""SIGHUP: the new configuration for new connections, nothing lost of the old ones, and no moment without a listener."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import abstract, ask, connect, echo

RELOADS = 50


class Storm:
    """Clients that connect, ask and leave, one after the other, until told to stop. ``failures``: what went wrong."""

    def __init__(self, ways: list[tuple[Any, int]], answers: set[bytes], threads: int = 4) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._ways = ways
        self._answers = answers
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            address, family = self._ways[(self.count + number) % len(self._ways)]
            try:
                answer = ask(address, b"ping", family)
            except OSError as error:
                self.failures.append(repr(error))
                continue
            if answer not in self._answers:
                self.failures.append(repr(answer))
            self.count += 1

    def stop(self) -> None:
        """Wait for all of them."""
        self._over.set()
        for thread in self._threads:
            thread.join(10)


def test_fifty_reloads_under_a_storm_of_connections_refuse_nobody(
    proxy: Any, tcp_config: Any, free_port: Any, tmp_path: Path, wait: Any
) -> None:
    port, path = free_port(), f"{tmp_path}/lb.sock"
    binds = [f"127.0.0.1:{port}", f"unix:{path}", f"unix:@{abstract('storm')}"]
    ways: list[tuple[Any, int]] = [
        (port, socket.AF_INET),
        (path, socket.AF_UNIX),
        (f"\0{abstract('storm')}", socket.AF_UNIX),
    ]
    with echo(b"one ") as one, echo(b"two ") as two:
        configs = [tcp_config(binds, f"127.0.0.1:{server.port}") for server in (one, two)]
        running = proxy(configs[0])
        inode = os.stat(path).st_ino
        with connect(port) as live:
            assert live.recv(4) == b"one "
            storm = Storm(ways, {b"one ping", b"two ping"})
            for number in range(1, RELOADS + 1):
                before = storm.count
                running.reload(configs[number % 2])
                wait(lambda before=before: storm.count > before, "a connection between two reloads")
            storm.stop()
            live.sendall(b"still here")
            assert live.recv(10) == b"still here"
        assert storm.failures == []
        assert os.stat(path).st_ino == inode
        records = running.records(storm.count + 1)
    assert len(records) == storm.count + 1
    assert {record["ending"] for record in records} == {"--"}


def test_new_connections_reach_the_new_servers_while_a_live_one_goes_on(
    proxy: Any, tcp_config: Any, free_port: Any
) -> None:
    port = free_port()
    with echo(b"old ") as old, echo(b"new ") as new:
        running = proxy(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{old.port}"))
        with connect(port) as live:
            assert live.recv(4) == b"old "
            running.reload(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{new.port}"))
            assert ask(port) == b"new ping"
            live.sendall(b"x" * 100_000)
            got = b""
            while len(got) < 100_000:
                got += live.recv(65536)
            assert got == b"x" * 100_000


def test_a_bad_file_changes_nothing_and_is_explained(proxy: Any, tcp_config: Any, free_port: Any) -> None:
    port, other = free_port(), free_port()
    with echo() as server:
        config = tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}")
        running = proxy(config)
        bad = tcp_config([f"127.0.0.1:{other}"], f"127.0.0.1:{server.port}")
        bad["backends"]["app"]["balence"] = "first"
        running.configure(bad)
        os.kill(running.pid, signal.SIGHUP)
        running.wait_for_stderr("stays in force")
        refusal = next(line for line in running.stderr().splitlines() if "reload refused" in line)
        assert "backends.app.balence" in refusal
        assert '"balance"' in refusal
        assert ask(port) == b"ping"
        with pytest.raises(ConnectionRefusedError):
            connect(other)


def test_a_listener_that_cannot_open_changes_nothing(proxy: Any, tcp_config: Any, free_port: Any) -> None:
    port, other = free_port(), free_port()
    with echo() as server, socket.create_server(("127.0.0.1", 0)) as taken:
        running = proxy(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}"))
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        running.configure(tcp_config([f"127.0.0.1:{other}", busy], f"127.0.0.1:{server.port}"))
        os.kill(running.pid, signal.SIGHUP)
        running.wait_for_stderr("stays in force")
        assert busy in running.stderr()
        assert ask(port) == b"ping"
        with pytest.raises(ConnectionRefusedError):
            connect(other)


def test_binds_come_and_go(proxy: Any, tcp_config: Any, free_port: Any, tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    path = tmp_path / "lb.sock"
    with echo() as server:
        address = f"127.0.0.1:{server.port}"
        running = proxy(tcp_config([f"127.0.0.1:{first}", f"unix:{path}"], address))
        running.reload(tcp_config([f"127.0.0.1:{second}"], address))
        assert ask(second) == b"ping"
        with pytest.raises(ConnectionRefusedError):
            connect(first)
        assert not path.exists()
        running.reload(tcp_config([f"127.0.0.1:{second}", f"unix:{path}"], address))
        assert ask(str(path), family=socket.AF_UNIX) == b"ping"


def test_a_limit_counts_on_over_a_reload(proxy: Any, tcp_config: Any, free_port: Any, wait: Any) -> None:
    port = free_port()
    with echo(b"in") as server, contextlib.ExitStack() as stack:

        def config(maxconn: int) -> Any:
            return tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}", maxconn=maxconn)

        running = proxy(config(2))
        live = [stack.enter_context(connect(port)) for _ in range(2)]
        assert [client.recv(2) for client in live] == [b"in", b"in"]
        waiting = stack.enter_context(connect(port))
        running.reload(config(2))
        assert server.accepted == 2, "who was let in before the reload was forgotten"
        running.reload(config(3))
        assert waiting.recv(2) == b"in"


def test_an_access_log_that_is_given_up_still_gets_the_last_records(
    proxy: Any, tcp_config: Any, free_port: Any, wait: Any
) -> None:
    port = free_port()
    with echo(b"in") as server:
        running = proxy(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}"))
        with connect(port) as live:
            assert live.recv(2) == b"in"
            other = running.folder / "other.json"
            log = {"use": "json", "path": str(other)}
            running.reload(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}", access_log=log))
            crowd = [connect(port) for _ in range(5)]  # one of them has the number of the old file's descriptor
            assert [client.recv(2) for client in crowd] == [b"in"] * 5
            server.close()
            live.shutdown(socket.SHUT_WR)
            assert live.recv(1) == b""
        assert len(running.records(1)) == 1
        for client in crowd:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"", "a log line was sent to a client"
            client.close()
        wait(lambda: other.exists() and other.read_bytes().count(b"\n") == 5, "the records of the new connections")
