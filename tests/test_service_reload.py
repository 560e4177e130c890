"""What a reload changes, and what it must not touch."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.whole import Config, Running, config, end, run
from twisted_lb import assembly, binding
from twisted_lb.assembly import Assembly
from twisted_lb.tap import Application


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    yield from run(tmp_path, monkeypatch)


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


@pytest.mark.parametrize("refused", [False, True])
def test_a_signal_to_reload_begins_the_logs_anew_once(
    running: Running, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Seen: twice, if the new configuration was taken."""
    running.start(config("127.0.0.1:0", "127.0.0.1:9"))
    reopened: list[Assembly] = []
    monkeypatch.setattr(Assembly, "reopen_logs", lambda assembly: reopened.append(assembly))
    running.config = {} if refused else config("127.0.0.1:0", "127.0.0.1:9")
    application = SimpleNamespace(balancer=running.balancer, _reopen_own_log=lambda: None)
    Application._reload(application)  # type: ignore[arg-type]
    assert reopened == [running.balancer.assembly]


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


@pytest.fixture
def port() -> int:
    """A port of 127.0.0.9 such that it and the next three are free: below those that the kernel hands out."""
    for low in range(21000, 31000, 7):
        try:
            for one in range(low, low + 4):
                socket.create_server(("127.0.0.9", one)).close()
        except OSError:
            continue
        return low
    pytest.fail("no four free ports in a row")


def test_a_range_that_grows_keeps_the_sockets_that_it_had(running: Running, port: int) -> None:
    _, address = running.upstream()
    running.start(config(f"127.0.0.9:{port}-{port + 1}", address))
    (before,) = running.balancer.bindings.values()
    kept = list(before.listeners)
    waiting = socket.create_connection(("127.0.0.9", port + 1), timeout=5)
    running.reload(config(f"127.0.0.9:{port}-{port + 3}", address))
    assert not [line for line in running.log if "refused" in line]
    (after,) = running.balancer.bindings.values()
    assert after.listeners[:2] == kept
    assert [sockname[1] for sockname in after.sockets()] == list(range(port, port + 4))
    running.until(lambda: running.process.sessions, "the client that waited in the backlog")
    waiting.close()


def test_a_range_that_shrinks_closes_what_it_lost_alone(running: Running, port: int) -> None:
    _, address = running.upstream()
    running.start(config(f"127.0.0.9:{port}-{port + 3}", address))
    running.reload(config({"address": f"127.0.0.9:{port + 1}", "backlog": 7}, address))
    (after,) = running.balancer.bindings.values()
    assert [sockname[1] for sockname in after.sockets()] == [port + 1]
    socket.create_connection(("127.0.0.9", port + 1), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.9", port), timeout=5)


def test_a_reload_that_fails_leaves_shared_sockets_with_whom_they_belong_to(running: Running, port: int) -> None:
    _, address = running.upstream()
    running.start(config(f"127.0.0.9:{port}-{port + 1}", address))
    taken = socket.create_server(("127.0.0.9", port + 2))
    running.reload(config(f"127.0.0.9:{port}-{port + 2}", address))
    assert [line for line in running.log if f"127.0.0.9:{port + 2}" in line]
    (after,) = running.balancer.bindings.values()
    assert [sockname[1] for sockname in after.sockets()] == [port, port + 1]
    taken.close()
    client = socket.create_connection(("127.0.0.9", port), timeout=5)
    running.until(lambda: running.process.sessions, "a session")
    client.close()


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> "Deferred[Any]":
    """What the next endpoint that is listened on answers."""
    answer: Deferred[Any] = Deferred()
    endpoint = SimpleNamespace(listen=lambda factory: answer)
    for module in (assembly, binding):
        monkeypatch.setattr(module, "serverFromString", lambda reactor, text: endpoint, raising=False)
    return answer


def test_an_endpoint_of_a_reload_that_fails_later_is_given_up_alone(running: Running, opening: "Deferred[Any]") -> None:
    """Seen: it ended the process."""
    upstream, address = running.upstream()
    running.start(config("127.0.0.1:0", address))
    running.reload(config(["127.0.0.1:0", "tcp:1"], address))
    opening.errback(RuntimeError("Tor is away"))
    assert running.failures == []
    assert "Tor is away" in running.log[-1]
    assert [one.bind.address for one in running.balancer.bindings.values()] == ["127.0.0.1:0"]
    end(running, *running.connect(upstream))


def test_an_endpoint_that_a_reload_gave_up_may_fail(running: Running, opening: "Deferred[Any]") -> None:
    _, address = running.upstream()
    running.start(config(["127.0.0.1:0", "tcp:1"], address))
    running.reload(config("127.0.0.1:0", address))
    opening.errback(RuntimeError("Tor is away"))
    assert running.failures == []


def test_an_endpoint_of_the_start_that_fails_later_ends_the_process(running: Running, opening: "Deferred[Any]") -> None:
    running.start(config(["127.0.0.1:0", "tcp:1"], "127.0.0.1:9"))
    opening.errback(RuntimeError("Tor is away"))
    assert ["Tor is away" in failure for failure in running.failures] == [True]


def test_a_refused_reload_leaves_the_mode_of_a_unix_path_alone(running: Running, tmp_path: Path) -> None:
    """Seen: what was private was open to everybody, by a configuration that was never in force."""
    taken, address = running.upstream()
    path = tmp_path / "web.sock"
    running.start(config({"address": f"unix:{path}", "mode": "600"}, address))
    running.reload(config([{"address": f"unix:{path}", "mode": "666"}, address], address))
    assert [line for line in running.log if "reload refused" in line]
    assert path.stat().st_mode & 0o777 == 0o600
    running.reload(config({"address": f"unix:{path}", "user": "no-such-user"}, address))
    assert [line for line in running.log if "no-such-user" in line]
    assert path.stat().st_mode & 0o777 == 0o600
    taken.close()


def test_a_unix_path_whose_file_was_removed_is_opened_anew_with_its_next_mode(running: Running, tmp_path: Path) -> None:
    """Seen: the reload failed, or gave the mode to a stranger's file."""
    path = tmp_path / "web.sock"
    running.start(config({"address": f"unix:{path}", "mode": "600"}, "127.0.0.1:9"))
    path.unlink()
    running.reload(config({"address": f"unix:{path}", "mode": "660"}, "127.0.0.1:9"))
    assert path.stat().st_mode & 0o777 == 0o660
    path.unlink()
    path.write_text("precious")
    mode = path.stat().st_mode
    running.reload(config({"address": f"unix:{path}", "mode": "600"}, "127.0.0.1:9"))
    assert [line for line in running.log if "another kind" in line]
    assert path.stat().st_mode == mode


def test_a_unix_path_that_gets_another_mode_keeps_its_socket(running: Running, tmp_path: Path) -> None:
    _, address = running.upstream()
    path = tmp_path / "web.sock"
    running.start(config({"address": f"unix:{path}", "mode": "600"}, address))
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(os.fspath(path))
    running.reload(config({"address": f"unix:{path}", "mode": "666"}, address))
    assert path.stat().st_mode & 0o777 == 0o666
    running.until(lambda: running.process.sessions, "the client that waited in the backlog")
    waiting.close()
    running.reload(config("127.0.0.1:0", address))
    assert not path.exists()


# Health checks


def test_a_server_that_is_down_stays_down_over_a_reload_and_its_checks_take_the_new_settings(running: Running) -> None:
    upstream, address = running.upstream()
    upstream.close()
    running.start(config("127.0.0.1:0", address, of_backend={"check": {"fall": 1, "interval": "1s"}}))
    (server,) = running.balancer.assembly.backends["app"].servers  # type: ignore[union-attr]
    running.clock.advance(0)
    running.until(lambda: not server.up, "a failed check")
    running.reload(config("127.0.0.1:0", address, of_backend={"check": {"rise": 1, "interval": "9s"}}))
    (kept,) = running.balancer.assembly.backends["app"].servers  # type: ignore[union-attr]
    assert kept is server
    assert not kept.up
    host, port = address.split(":")
    with socket.create_server((host, int(port))):
        running.clock.advance(0)
        running.until(lambda: kept.up, "a good check")
    running.clock.advance(8)
    assert running.check_timers() == 1, "the check before goes on"
    running.reload(config("127.0.0.1:0", address))
    assert running.check_timers() == 0


def test_checks_of_a_server_that_is_removed_stop(running: Running) -> None:
    (gone, gone_address), (_, address) = running.upstream(), running.upstream()
    running.start(config("127.0.0.1:0", gone_address, of_backend={"check": True}))
    running.reload(config("127.0.0.1:0", address))
    running.clock.advance(10)
    running.turn()
    gone.settimeout(0.05)
    with pytest.raises(TimeoutError):
        gone.accept()
