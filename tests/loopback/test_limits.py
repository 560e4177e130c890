"""Beyond a limit clients wait in the backlog: nobody is refused, everybody is served in the end."""

import resource
import socket
import time
from typing import Any

import pytest

from tests.loopback.servers import ask, connect, echo

GREETING = b"welcome"


def greeted(client: socket.socket) -> bool:
    """Whether the server's greeting has come."""
    client.setblocking(False)
    try:
        return client.recv(len(GREETING)) == GREETING
    except BlockingIOError:
        return False


@pytest.mark.parametrize("where", ["process", "frontend", "bind", "endpoint"])
def test_who_comes_beyond_a_limit_is_served_later(
    proxy: Any, tcp_config: Any, free_port: Any, wait: Any, where: str
) -> None:
    port = free_port()
    with echo(GREETING) as server:
        bind: Any = f"127.0.0.1:{port}"
        if where == "endpoint":
            bind = {"address": f"tcp:{port}:interface=127.0.0.1", "maxconn": 3}
        elif where == "bind":
            bind = {"address": bind, "maxconn": 3}
        config = tcp_config([bind], f"127.0.0.1:{server.port}", **({"maxconn": 3} if where == "frontend" else {}))
        if where == "process":
            config["process"] = {"maxconn": 3}
        running = proxy(config)
        clients = [connect(port) for _ in range(10)]
        served: list[socket.socket] = []
        for done in range(0, 10, 3):
            wanted = min(3, 10 - done)

            def more(wanted: int = wanted) -> bool:
                served.extend([one for one in clients if one not in served and greeted(one)])
                return len(served) >= wanted

            wait(more, f"{wanted} of {len(clients)} clients greeted")
            time.sleep(0.02)  # nothing tells that nothing happens: give a defect a chance to show
            more()
            assert len(served) == wanted, "more clients were let in than the limit allows"
            for one in served:
                clients.remove(one)
                one.close()
            served.clear()
        records = running.records(10)
    assert len(records) == 10
    count = "process_connections" if where == "process" else "frontend_connections"
    assert max(record[count] for record in records) <= 3


@pytest.mark.linux
def test_without_descriptors_it_pauses_says_so_once_and_recovers(
    proxy: Any, tcp_config: Any, free_port: Any, wait: Any
) -> None:
    port = free_port()
    with echo(GREETING) as server:
        running = proxy(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}"))
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (running.descriptors() + 7, hard))
        clients = [connect(port) for _ in range(12)]
        running.wait_for_stderr("pauses accepting now and then: Too many open files")
        wait(lambda: [one for one in clients if greeted(one)], "somebody greeted")
        before = running.cpu_s()
        begun = time.monotonic()
        wait(lambda: time.monotonic() - begun > 0.5, "half a second")
        assert running.cpu_s() - before < 0.25, "it spins while it has no descriptors"
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for one in clients:
            one.close()
        assert ask(port) == GREETING + b"ping"
        running.wait_for_stderr("pauses accepting")
        assert running.stderr().count("pauses accepting") == 1
        wait(lambda: len(running.records(12)) >= 12, "everybody's record")
