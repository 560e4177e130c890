"""Two proxies that share tables through Redis, and what they do when it goes away and comes back."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.daemons import Daemon, Daemons
from tests.loopback.conftest import wait_until
from tests.loopback.servers import ask, connect, echo, hear

pytestmark = [pytest.mark.linux, pytest.mark.daemon("redis-server")]


class Redis:
    """A Redis of this test alone."""

    def __init__(self, daemons: Daemons, port: int) -> None:
        self.port = port
        self._daemons = daemons
        self._folder = daemons.folder()
        self.daemon = self.start()

    def start(self) -> Daemon:
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self.daemon = self._daemons.start(
            "redis", *arguments, self._folder, "--requirepass", "sesame", folder=self._folder, ports=[self.port]
        )
        return self.daemon

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.daemon._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.daemon._process.wait(10)


@pytest.fixture
def redis(daemons: Daemons, free_port: Any) -> Iterator[Redis]:
    made = Redis(daemons, free_port())
    yield made
    made.signal(signal.SIGCONT)
    made.daemon.stop()


@pytest.fixture
def server() -> Iterator[Any]:
    with echo() as made:
        yield made


StartMany = Callable[..., tuple[Any, list[int]]]
Start = Callable[..., tuple[Any, int]]


@pytest.fixture
def start_many(proxy: Any, free_port: Any, redis: Redis, server: Any) -> StartMany:
    """Start a proxy with one limit in front of each of several tables, and wait until it has heard of Redis: itself,
    and the ports, one for each table.
    """

    def make(limit: str, *stores: dict[str, Any]) -> tuple[Any, list[int]]:
        ports = [free_port() for _ in stores]
        times = {"refresh": "50ms", "timeout": "500ms", "lease": "2s"}
        use = {"use": "redis", "address": f"127.0.0.1:{redis.port}", "password": "sesame", "db": 3, **times}
        config = {
            "tables": {
                f"shared{number}": {"key": "source", "window": "1h", "expire": "2h", "store": {**use, **store}}
                for number, store in enumerate(stores)
            },
            "frontends": {
                f"web{number}": {
                    "bind": f"127.0.0.1:{port}",
                    "backend": "app",
                    "policies": [{"limit": limit, "table": f"shared{number}", "action": "reject"}],
                }
                for number, port in enumerate(ports)
            },
            "backends": {"app": {"servers": {"s": f"127.0.0.1:{server.port}"}}},
        }
        made = proxy(config)
        wait_until(lambda: "answers again" in made.stderr() or seen(made, redis), "Redis is heard of")
        return made, ports

    return make


@pytest.fixture
def start(start_many: StartMany) -> Start:
    """Start a proxy with one limit, and wait until it has heard of Redis: itself, and its port."""

    def make(limit: str, **store: Any) -> tuple[Any, int]:
        made, (port,) = start_many(limit, store)
        return made, port

    return make


def seen(proxy: Any, redis: Redis) -> bool:
    """Whether a proxy has a connection to Redis, for as long as an answer takes."""
    wanted = f":{redis.port:04X}"
    inodes = {os.readlink(one.path) for one in os.scandir(f"/proc/{proxy.pid}/fd") if one.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = any(f[2].endswith(wanted) and f[3] == "01" and f"socket:[{f[9]}]" in inodes for f in lines)
    if there:
        time.sleep(0.2)  # two rounds
    return there


def served(port: int) -> bool:
    try:
        return ask(port) == b"ping"
    except ConnectionResetError:  # so early that the client had hardly connected
        return False


def test_every_connection_of_either_counts_for_both_if_each_decision_asks(start: Start) -> None:
    (_, one), (_, other) = [start("connections per source > 10 in 1h", mode="each") for _ in range(2)]
    taken = [served(port) for port in (one, other) * 5]
    assert taken == [True] * 10
    assert [served(one), served(other)] == [False, False]


def test_in_the_background_each_hears_of_the_others_connections_within_a_few_rounds(start: Start) -> None:
    (_, one), (_, other) = [start("connections per source > 10 in 1h") for _ in range(2)]
    assert [served(one) for _ in range(8)] == [True] * 8
    assert served(other), "it has only now heard of this source, and asks in the next round"
    wait_until(lambda: not served(other), "the other refuses as well", 5)
    wait_until(lambda: not served(one), "and so does the first", 5)


def test_connections_that_are_open_at_either_are_limited_together_until_a_machine_dies(start: Start) -> None:
    (first, one), (_, other) = [start("connections per source > 3", mode="each") for _ in range(2)]
    held = [connect(one) for _ in range(3)]
    for client in held:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert not served(other)
    held.pop().close()
    wait_until(lambda: served(other), "a place is given back", 5)
    first.kill()
    for client in held:
        hear(client)
    clients: list[socket.socket] = []

    def all_three() -> bool:
        client = attempt(other)
        if client is not None:
            clients.append(client)
        return len(clients) == 3

    wait_until(all_three, "the places of the machine that died are free", 10)
    first.process.returncode = 0  # killed on purpose
    for client in clients:
        client.close()


def attempt(port: int) -> socket.socket | None:
    """Return a connection that is served, if it is."""
    try:
        client = connect(port)
        client.sendall(b"x")
        if client.recv(1) == b"x":
            return client
    except OSError:
        return None
    client.close()
    return None


class Stream:
    """Connections one after the other; ``seconds`` that each took, and ``answers``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seconds: list[float] = []
        self.answers: list[bool] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            self.answers.append(served(self.port))
            self.seconds.append(time.monotonic() - began)

    def wait_for(self, answer: bool, times: int = 5) -> None:
        first = len(self.answers)
        wait_until(lambda: self.answers[first:].count(answer) >= times, f"{times} times {answer}", 15)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


STORES = [{"mode": mode, "when_away": when_away} for mode in ("refresh", "each") for when_away in ("local", "refuse")]


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_redis_goes_and_comes_back_while_connections_flow_and_none_hangs(
    start_many: StartMany, redis: Redis, how: str
) -> None:
    running, ports = start_many("connections per source > 100000 in 1h", *STORES)
    streams = [Stream(port) for port in ports]
    for stream in streams:
        stream.wait_for(True)
    if how == "killed":
        redis.kill()
    else:
        redis.signal(signal.SIGSTOP)
    running.wait_for_stderr("does not answer", len(STORES))
    for store, stream in zip(STORES, streams, strict=True):
        stream.wait_for(store["when_away"] == "local", 20)
    if how == "killed":
        redis.start()
    else:
        redis.signal(signal.SIGCONT)
    running.wait_for_stderr("answers again", len(STORES))
    for store, stream in zip(STORES, streams, strict=True):
        stream.wait_for(True, 20)
        stream.stop()
        assert store["when_away"] == "refuse" or all(stream.answers)
        assert max(stream.seconds) < 5, "the time-out of Redis is half a second"


def test_a_limit_holds_with_our_own_count_while_redis_is_away_and_with_all_counts_again_after(
    start: Start, redis: Redis
) -> None:
    running, port = start("connections per source > 4 in 1h", mode="each")
    assert [served(port) for _ in range(2)] == [True, True]
    redis.kill()
    running.wait_for_stderr("does not answer")
    assert [served(port) for _ in range(3)] == [True, True, False]
    redis.start()
    running.wait_for_stderr("answers again")
    assert not served(port), "Redis has forgotten, and we have not"


def test_a_table_is_shared_from_a_reload_on_and_no_more_after_another(proxy: Any, redis: Redis, free_port: Any) -> None:
    port = free_port()

    def whole(store: Any) -> dict[str, Any]:
        policies = [{"limit": "connections per source > 2 in 1h", "table": "t"}]
        return {
            "tables": {"t": {"key": "source", "window": "1h", "expire": "2h", "store": store}},
            "frontends": {"web": {"bind": f"127.0.0.1:{port}", "backend": "app", "policies": policies}},
            "backends": {"app": {"servers": {"s": "127.0.0.1:9"}}},
        }

    running = proxy(whole("memory"))
    assert not seen(running, redis)
    shared = whole({"use": "redis", "address": f"127.0.0.1:{redis.port}", "password": "sesame", "refresh": "50ms"})
    running.reload(shared)
    wait_until(lambda: seen(running, redis), "it connects to Redis")
    running.reload({**shared, "process": {"graceful_stop": "1s"}})
    assert seen(running, redis), "it goes on"
    running.reload(whole("memory"))
    wait_until(lambda: not seen(running, redis), "the connection is closed")


def test_a_wrong_password_is_told_and_counts_as_away(proxy: Any, redis: Redis, free_port: Any) -> None:
    port = free_port()
    store = {"use": "redis", "address": f"127.0.0.1:{redis.port}", "password": "wrong", "when_away": "refuse"}
    running = proxy(
        {
            "tables": {"t": {"key": "source", "store": store}},
            "frontends": {
                "web": {"bind": f"127.0.0.1:{port}", "backend": "app", "policies": [{"deny": "tables.t.gpc0 > 0"}]}
            },
            "backends": {"app": {"servers": {"s": "127.0.0.1:9"}}},
        }
    )
    running.wait_for_stderr("does not answer")
    assert not served(port)
    wait_until(lambda: "WRONGPASS" in running.stderr(), "the reason is told")
