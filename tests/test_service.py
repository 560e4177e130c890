"""Start, limits and stop of a whole load balancer; reloads are in ``test_service_reload.py``."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, formatEvent

from tests.whole import Config, Running, config, end, run
from twisted_lb.binding import Binding
from twisted_lb.errors import ConfigError
from twisted_lb.net.stream import Stream
from twisted_lb.tcp_session import TcpSession


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    yield from run(tmp_path, monkeypatch)


# Start


def test_a_connection_goes_through_and_leaves_one_record(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    client, served = running.connect(upstream)
    client.sendall(b"ping")
    running.turn(0.1)
    assert served.recv(9) == b"ping"
    end(running, client, served)
    (record,) = running.records(1)
    assert (record["ending"], record["server"], record["bytes_in"]) == ("--", "s1", 4)
    assert record["destination_port"] == running.port()
    assert record["source_port"] > 0


def test_policies_that_ask_others_leave_room_for_fewer_connections(running: Running) -> None:
    asking = [{"use": "dnsbl", "zones": ["bl.example"], "resolvers": ["127.0.0.1:9"], "max_queries": 50}]
    running.start(config("127.0.0.1:0", "127.0.0.1:9"))
    assert running.balancer.assembly is not None
    room = running.balancer.assembly.maxconn
    assert room is not None
    running.reload(config("127.0.0.1:0", "127.0.0.1:9", of_frontend={"policies": asking}))
    assert running.balancer.assembly.maxconn == room - 25


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
    # An address that nobody else uses has all of its ports free.
    with socket.create_server(("127.66.0.2", 10002)):
        running.config = config("127.66.0.2:10001-10003", "127.0.0.1:9")
        with pytest.raises(ConfigError) as caught:
            running.balancer.open()
    assert "127.66.0.2:10002 " in str(caught.value)


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


# Stop


def test_a_graceful_stop_lets_live_connections_finish(running: Running) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address, process={"graceful_stop": "30s"}))
    client, served = running.connect(upstream)
    port = running.port()
    stopping = running.balancer.stopService()
    assert stopping is not None
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


def test_a_session_that_cannot_be_ended_keeps_no_other_from_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    for _ in range(3):
        running.connect(upstream)
    calls, kill = [], TcpSession.kill

    def first_fails(session: TcpSession, reason: str) -> None:
        calls.append(session)
        if len(calls) == 1:
            raise RuntimeError("a defect")
        kill(session, reason)

    monkeypatch.setattr(TcpSession, "kill", first_fails)
    running.balancer.stopService()
    running.balancer.stop_now()
    assert running.process.sessions == {calls[0]}
    monkeypatch.undo()
    calls[0].kill("the end of the test")


def test_a_connection_that_cannot_be_watched_is_reset_alone(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen with fs.epoll.max_user_watches used up: a KeyError, and the descriptor stayed open."""
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))

    def full(stream: Stream) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    said: list[str] = []
    monkeypatch.setattr(Stream, "accepted", full)
    observer: Any = lambda event: said.append(formatEvent(event))  # noqa: E731
    monkeypatch.setattr(Binding, "_log", Logger(observer=observer))
    unlucky = running.client()
    running.turn(1)
    assert said == ["a connection cannot be watched; it is reset"]
    with pytest.raises(ConnectionResetError):
        unlucky.recv(1)
    monkeypatch.undo()
    end(running, *running.connect(upstream))


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


# Health checks


def test_checks_begin_when_the_service_starts_and_end_when_it_stops(running: Running) -> None:
    upstream, address = running.upstream()
    running.config = config("127.0.0.1:0", address, of_backend={"check": True})
    running.balancer.open()
    assert running.check_timers() == 0
    running.balancer.startService()
    running.clock.advance(0)
    checked, _ = upstream.accept()
    checked.close()
    running.turn(0.1)
    client, served = running.connect(upstream)
    running.balancer.stopService()
    running.clock.advance(2)
    running.turn()
    upstream.settimeout(0.05)
    with pytest.raises(TimeoutError):
        upstream.accept()
    end(running, client, served)
    assert running.check_timers() == 0


def test_checking_alone_begins_no_checks(running: Running) -> None:
    _, address = running.upstream()
    running.config = config("127.0.0.1:0", address, of_backend={"check": True})
    running.balancer.check()
    assert running.check_timers() == 0
