"""Start, reload and stop of a whole load balancer within this process: real sockets, and a clock of our own."""

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from twisted_lb.config.load import load_dict
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.net.poll import Poller
from twisted_lb.process import Process
from twisted_lb.service import LoadBalancer

Config = dict[str, Any]


class Running:
    """A load balancer; ``config`` is what it reads next, ``log`` what it said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.access_log = folder / "access.json"
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(self.clock)
        self.process = Process(None, self.clock, self.poller)
        self.config: Config = {}
        self.failures: list[str] = []
        self.log: list[str] = []
        self.balancer = LoadBalancer(self._load, self.process, self.failures.extend)
        self._sockets: list[socket.socket] = []
        monkeypatch.setattr(LoadBalancer, "_log", Logger(observer=self._logged))  # type: ignore[arg-type]

    def _logged(self, event: LogEvent) -> None:
        self.log.append(formatEvent(event))

    def _load(self) -> Any:
        log = {"access_log": {"use": "json", "path": str(self.access_log)}}
        return load_dict({**self.config, "defaults": {**log, **self.config.get("defaults", {})}}, "lb.toml")

    def upstream(self) -> tuple[socket.socket, str]:
        """A server that the test accepts for: the listening socket, and its address."""
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(5)
        self._sockets.append(listening)
        return listening, f"127.0.0.1:{listening.getsockname()[1]}"

    def start(self, config: Config) -> None:
        self.config = config
        self.balancer.open()
        self.balancer.startService()

    def reload(self, config: Config) -> None:
        self.config = config
        self.balancer.reload()

    def port(self, index: int = 0) -> int:
        """The TCP port of a bind entry."""
        port: int = list(self.balancer.bindings.values())[index].sockets()[0][1]
        return port

    def client(self, index: int = 0) -> socket.socket:
        """Connect to a bind entry."""
        made = socket.create_connection(("127.0.0.1", self.port(index)), timeout=5)
        self._sockets.append(made)
        return made

    def until(self, probe: Callable[[], Any], what: str) -> None:
        """Let the load balancer run until ``probe`` answers something true."""
        deadline = time.monotonic() + 5
        while not probe():
            assert time.monotonic() < deadline, f"not within 5 s: {what}"
            self.turn(0.01)

    def turn(self, seconds: float = 0.0) -> None:
        """One batch of events."""
        self.poller.dispatch(self.poller.epoll.poll(0 if self.poller.ready else seconds))

    def connect(self, upstream: socket.socket, index: int = 0) -> tuple[socket.socket, socket.socket]:
        """A client that has reached ``upstream``: both ends."""
        before = self.relaying()
        client = self.client(index)
        self.until(lambda: self.relaying() > before, "a session that is connected")
        served, _ = upstream.accept()
        served.settimeout(5)
        self._sockets.append(served)
        return client, served

    def relaying(self) -> int:
        """How many sessions have reached the relay."""
        return sum(session.stage is Stage.RELAY for session in self.process.sessions)  # type: ignore[attr-defined]

    def records(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many connections to have ended; their records."""

        def lines() -> list[bytes]:
            return self.access_log.read_bytes().splitlines() if self.access_log.exists() else []

        self.until(lambda: len(lines()) >= count, f"{count} records")
        return [json.loads(line) for line in lines()]

    def close(self) -> None:
        for made in self._sockets:
            made.close()
        stopped = self.balancer.stopService()
        self.balancer.stop_now()
        self.turn()
        assert stopped is None or stopped.called
        assert len(self.poller) == 0, "a descriptor is still watched"
        assert len(self.process.wheel) == 0
        assert self.process.limit.count == 0
        self.poller.epoll.close()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    made = Running(tmp_path, monkeypatch)
    yield made
    made.close()


def config(bind: Any, *servers: Any, **more: Any) -> Config:
    named = {f"s{number}": server for number, server in enumerate(servers, 1)}
    backend = {"servers": named, **more.pop("of_backend", {})}
    frontend = {"bind": bind, "backend": "app", **more.pop("of_frontend", {})}
    return {"frontends": {"web": frontend}, "backends": {"app": backend}, **more}


def end(running: Running, client: socket.socket, served: socket.socket) -> None:
    sessions = len(running.process.sessions)
    client.close()
    served.close()
    running.until(lambda: len(running.process.sessions) < sessions, "the end of the session")


# Start


def test_a_connection_goes_through_and_leaves_one_record(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    client, served = running.connect(upstream)
    client.sendall(b"ping")
    running.until(lambda: running.process.wheel and running.poller, "a turn")
    running.turn(0.1)
    assert served.recv(9) == b"ping"
    end(running, client, served)
    (record,) = running.records(1)
    assert (record["ending"], record["server"], record["bytes_in"]) == ("--", "s1", 4)
    assert record["destination_port"] == running.port()
    assert record["source_port"] > 0


def test_all_listeners_open_or_none(running: Running) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    free = socket.create_server(("127.0.0.1", 0))
    free_port = free.getsockname()[1]
    free.close()
    port = taken.getsockname()[1]
    running.config = config([f"127.0.0.1:{free_port}", f"127.0.0.1:{port}", "192.0.2.1:80"], "127.0.0.1:9")
    with pytest.raises(ConfigError) as caught:
        running.balancer.open()
    taken.close()
    assert len(caught.value.problems) == 2, "each that cannot be opened is named"
    assert f"127.0.0.1:{port}" in caught.value.problems[0]
    assert "192.0.2.1:80" in caught.value.problems[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port), timeout=5)
    assert running.balancer.bindings == {}


def test_within_a_range_the_busy_port_is_named(running: Running) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    running.config = config(f"127.0.0.1:{port - 1}-{port + 1}", "127.0.0.1:9")
    with pytest.raises(ConfigError) as caught:
        running.balancer.open()
    taken.close()
    assert f"127.0.0.1:{port} " in str(caught.value)


def test_nothing_is_accepted_before_the_service_starts(running: Running) -> None:
    _, address = running.upstream()
    running.config = config("127.0.0.1:0", address)
    running.balancer.open()
    running.client()
    running.turn(0.05)
    assert not running.process.sessions
    running.balancer.startService()
    running.until(lambda: running.process.sessions, "the client that waited")


def test_two_binds_on_ports_of_the_kernels_choice_are_two_listeners(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config(["127.0.0.1:0", "127.0.0.1:0"], address))
    assert running.port(0) != running.port(1)
    for index in (0, 1):
        end(running, *running.connect(upstream, index))


# Limits


@pytest.mark.parametrize("where", ["process", "frontend", "bind"])
def test_beyond_a_limit_clients_wait_in_the_backlog_and_are_served_later(running: Running, where: str) -> None:
    upstream, address = running.upstream()
    bind: Any = {"address": "127.0.0.1:0", "maxconn": 2} if where == "bind" else "127.0.0.1:0"
    settings: Config = {
        "process": {"process": {"maxconn": 2}},
        "frontend": {"of_frontend": {"maxconn": 2}},
        "bind": {},
    }[where]
    running.start(config(bind, address, **settings))
    live = [running.connect(upstream), running.connect(upstream)]
    waiting = running.client()
    waiting.sendall(b"I waited")
    running.turn(0.05)
    assert len(running.process.sessions) == 2, "one was accepted beyond the limit"
    end(running, *live.pop())
    running.until(lambda: len(running.process.sessions) == 2, "the one that waited")
    served, _ = upstream.accept()
    running.turn(0.05)
    assert served.recv(99) == b"I waited"
    served.close()


def test_a_limit_of_one_frontend_leaves_the_others_alone(running: Running) -> None:
    upstream, address = running.upstream()
    made = config("127.0.0.1:0", address, of_frontend={"maxconn": 1})
    made["frontends"]["other"] = {"bind": "127.0.0.2:0", "backend": "app"}
    running.start(made)
    running.connect(upstream)
    other = socket.create_connection(("127.0.0.2", running.port(1)), timeout=5)
    running.until(lambda: len(running.process.sessions) == 2, "a session of the other frontend")
    other.close()


def test_a_raised_limit_admits_who_waits(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address, process={"maxconn": 1}))
    running.connect(upstream)
    running.client()
    running.turn(0.05)
    assert len(running.process.sessions) == 1
    running.reload(config("127.0.0.1:0", address, process={"maxconn": 2}))
    running.until(lambda: len(running.process.sessions) == 2, "the one that waited")


def test_a_lowered_limit_ends_nobody_and_admits_nobody_until_there_is_room(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address, process={"maxconn": 3}))
    live = [running.connect(upstream) for _ in range(3)]
    running.reload(config("127.0.0.1:0", address, process={"maxconn": 1}))
    running.client()
    for _ in range(2):
        running.turn(0.05)
        assert len(running.process.sessions) == len(live)
        end(running, *live.pop())
    running.turn(0.05)
    assert len(running.process.sessions) == 1
    end(running, *live.pop())
    running.until(lambda: running.process.sessions, "the one that waited")


# Reload


def test_new_connections_take_the_new_servers_while_live_ones_go_on(running: Running) -> None:
    (old, old_address), (new, new_address) = running.upstream(), running.upstream()
    running.start(config("127.0.0.1:0", old_address))
    client, served = running.connect(old)
    port = running.port()
    running.reload(config("127.0.0.1:0", new_address))
    assert running.port() == port, "the listener was not kept"
    end(running, *running.connect(new))
    client.sendall(b"still here")
    running.turn(0.1)
    assert served.recv(99) == b"still here"
    end(running, client, served)
    assert [record["ending"] for record in running.records(2)] == ["--", "--"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made["frontends"]["web"].update(backnd="app"), "backnd"),
        (lambda made: made["frontends"]["web"].update(bind=["127.0.0.1:0", "192.0.2.1:80"]), "192.0.2.1:80"),
        (lambda made: made.update(plugins=["no_such_module"]), "no_such_module"),
        (lambda made: made["backends"]["app"].update(balance="fairest"), "fairest"),
        (lambda made: made.update(process={"maxconn": 2_000_000_000}), "maxconn"),
    ],
)
def test_a_bad_configuration_leaves_the_old_one_running_and_says_why(
    running: Running, spoil: Callable[[Config], None], said: str
) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    client, served = running.connect(upstream)
    descriptors = len(os.listdir("/proc/self/fd"))
    bad = config("127.0.0.1:0", address)
    spoil(bad)
    running.reload(bad)
    refusal = [line for line in running.log if line.startswith("reload refused: ")]
    assert len(refusal) == 1
    assert said in refusal[0]
    assert len(os.listdir("/proc/self/fd")) == descriptors, "something was opened and not closed"
    end(running, *running.connect(upstream))
    end(running, client, served)
    assert [record["ending"] for record in running.records(2)] == ["--", "--"]


def test_a_defect_during_a_reload_leaves_the_old_configuration_running(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))

    def broken() -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(running.balancer, "load", broken)
    running.balancer.reload()
    assert "stays in force" in running.log[-1]
    end(running, *running.connect(upstream))


def test_a_removed_bind_stops_listening_and_an_added_one_starts(running: Running) -> None:
    upstream, address = running.upstream()
    path = running.folder / "lb.sock"
    running.start(config(["127.0.0.1:0", f"unix:{path}"], address))
    port = running.port()
    running.reload(config(f"unix:{path}", address))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    inode = path.stat().st_ino
    running.reload(config([f"unix:{path}", "127.0.0.2:0"], address))
    assert path.stat().st_ino == inode, "the Unix path was replaced although nothing changed"
    added = socket.create_connection(("127.0.0.2", running.port(1)), timeout=5)
    running.until(lambda: running.process.sessions, "a session through the added bind")
    added.close()
    upstream.accept()[0].close()
    running.until(lambda: not running.process.sessions, "its end")
    running.reload(config("127.0.0.2:0", address))
    assert not path.exists()


def test_counts_of_live_connections_are_carried_over(running: Running) -> None:
    upstream, address = running.upstream()
    made = config("127.0.0.1:0", {"address": address, "maxconn": 9}, of_frontend={"maxconn": 5})
    running.start(made)
    live = [running.connect(upstream) for _ in range(2)]
    running.reload(made)
    client, served = running.connect(upstream)
    end(running, client, served)
    (record,) = running.records(1)
    counts = [record[f"{what}_connections"] for what in ("process", "frontend", "backend", "server")]
    assert counts == [3, 3, 3, 3]
    for pair in live:
        end(running, *pair)
    assert [backend.load.connections for backend in running.balancer.assembly.backends.values()] == [0]  # type: ignore[union-attr]


def test_who_waits_in_the_queue_gets_a_server_that_a_reload_added(running: Running) -> None:
    (old, old_address), (new, new_address) = running.upstream(), running.upstream()
    running.start(config("127.0.0.1:0", {"address": old_address, "maxconn": 1}))
    first = running.connect(old)
    waiting = running.client()
    running.until(lambda: len(running.process.sessions) == 2, "the one that has to wait")
    running.reload(config("127.0.0.1:0", {"address": new_address, "maxconn": 1}))
    running.turn(0.05)
    served, _ = new.accept()
    third = running.client()
    running.until(lambda: len(running.process.sessions) == 3, "another one that has to wait")
    end(running, *first)
    running.turn(0.05)
    old.settimeout(0.05)
    with pytest.raises(TimeoutError):
        old.accept()  # a slot of a server that is no more was given away
    end(running, waiting, served)
    new.accept()[0].close()
    third.close()


def test_who_waits_in_the_queue_gets_a_slot_that_a_reload_added(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", {"address": address, "maxconn": 1}))
    running.connect(upstream)
    running.client()
    running.until(lambda: len(running.process.sessions) == 2, "the one that has to wait")
    running.reload(config("127.0.0.1:0", address))
    running.turn(0.05)
    upstream.accept()[0].close()


def test_the_record_of_an_old_connection_goes_where_it_was_to_go(running: Running) -> None:
    # After the reload the old file was closed, and its descriptor's number may have been a client's by then.
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    client, served = running.connect(upstream)
    other = str(running.folder / "other.json")
    running.reload(config("127.0.0.1:0", address, defaults={"access_log": {"use": "json", "path": other}}))
    second = running.connect(upstream)
    end(running, client, served)
    end(running, *second)
    assert len(running.records(1)) == 1
    assert Path(other).read_bytes().count(b"\n") == 1


def test_a_rotated_access_log_is_begun_anew(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    end(running, *running.connect(upstream))
    running.records(1)
    running.access_log.rename(running.folder / "access.json.1")
    running.balancer.reopen_logs()
    end(running, *running.connect(upstream))
    assert len(running.records(1)) == 1


def test_a_log_that_cannot_be_begun_anew_keeps_no_other_from_it(running: Running) -> None:
    _, address = running.upstream()
    gone = running.folder / "gone"
    gone.mkdir()
    made = config("127.0.0.1:0", address)
    log = {"use": "json", "path": str(gone / "a.json")}
    made["frontends"] = {"early": {"bind": "127.0.0.2:0", "backend": "app", "access_log": log}, **made["frontends"]}
    running.start(made)
    (gone / "a.json").unlink()
    gone.rmdir()
    running.access_log.rename(running.folder / "access.json.1")
    running.balancer.reopen_logs()
    assert running.access_log.exists()
    assert "a.json" in running.log[-1]


# Stop


def test_a_graceful_stop_lets_live_connections_finish(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address, process={"graceful_stop": "30s"}))
    client, served = running.connect(upstream)
    port = running.port()
    stopping = running.balancer.stopService()
    assert stopping is not None
    assert running.balancer.stopping
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    running.clock.advance(29)
    client.sendall(b"the rest")
    running.turn(0.1)
    assert served.recv(99) == b"the rest"
    assert not stopping.called
    end(running, client, served)
    running.turn()
    assert stopping.called
    assert not [call for call in running.clock.getDelayedCalls() if call.func == running.balancer.stop_now]
    assert [record["ending"] for record in running.records(1)] == ["--"], "the last record was lost"


def test_after_the_grace_what_is_left_is_ended(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address, process={"graceful_stop": "5s"}))
    client, _ = running.connect(upstream)
    stopping = running.balancer.stopService()
    assert stopping is not None
    running.clock.advance(5)
    running.turn()
    assert stopping.called
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    (record,) = running.records(1)
    assert (record["ending"], record["reason"]) == ("KD", "the process stops")


def test_a_second_stop_ends_what_is_left_at_once(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    running.connect(upstream)
    stopping = running.balancer.stopService()
    assert stopping is not None
    running.balancer.stop_now()
    running.turn()
    assert stopping.called
    assert running.records(1)[0]["ending"] == "KD"


def test_a_connection_that_waits_in_the_queue_when_the_process_ends_is_ended_too(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", {"address": address, "maxconn": 1}))
    running.connect(upstream)
    running.client()
    running.until(lambda: len(running.process.sessions) == 2, "both")
    running.balancer.stopService()
    running.balancer.stop_now()
    running.turn()
    assert sorted(record["ending"] for record in running.records(2)) in (["KD", "KQ"], ["KC", "KD"])


def test_a_stop_without_connections_is_done_at_once(running: Running) -> None:
    running.start(config("127.0.0.1:0", "127.0.0.1:9"))
    assert running.balancer.stopService() is None


def test_there_is_no_reload_once_it_stops(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    running.connect(upstream)
    running.balancer.stopService()
    running.reload(config("127.0.0.1:0", address))
    assert running.balancer.bindings == {}
    assert "stopping" in running.log[-1]


def test_a_unix_path_is_gone_after_the_stop_unless_somebody_else_has_taken_it(running: Running) -> None:
    mine, taken = running.folder / "mine.sock", running.folder / "taken.sock"
    running.start(config([f"unix:{mine}", f"unix:{taken}"], "127.0.0.1:9"))
    assert stat.S_ISSOCK(mine.stat().st_mode)
    taken.unlink()
    taken.touch()
    running.balancer.stopService()
    assert not mine.exists()
    assert taken.exists()
