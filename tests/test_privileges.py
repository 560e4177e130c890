"""What a configuration needs after the start; and twistd as root with ``--uid``, which keeps that and nothing else."""

import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.conftest import toml, wait_until
from tests.net.test_capabilities import masks
from twisted_lb import privileges
from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.net import capabilities
from twisted_lb.net.capabilities import Capability, bounding
from twisted_lb.privileges import Need, Privileges, needs, to_keep, unmet

pytestmark = pytest.mark.linux

NOBODY = 65534
BIND, ADMIN, RAW, SYS = Capability.NET_BIND_SERVICE, Capability.NET_ADMIN, Capability.NET_RAW, Capability.SYS_ADMIN


def config(bind: Any = "127.0.0.1:8080", backend: Any = None, server: Any = "127.0.0.1:9001") -> dict[str, Any]:
    return {
        "frontends": {"web": {"bind": [bind], "backend": "app"}},
        "backends": {"app": {**(backend or {}), "servers": {"a": server}}},
    }


def with_policies(*policies: Any) -> dict[str, Any]:
    made = config()
    made["frontends"]["web"]["policies"] = list(policies)
    return made


def of_header() -> dict[str, Any]:
    made = config(backend={"source": "header:X-Real-IP"})
    made["frontends"]["web"] |= {"mode": "http", "forwarded": {"except": ["10.0.0.1"]}}
    return made


def spelt(wanted: list[Need]) -> list[tuple[str, str]]:
    return [(privileges.spelt(need.any_of), need.key) for need in wanted]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (config(), []),
        (config("127.0.0.1:80"), [("CAP_NET_BIND_SERVICE", "frontends.web.bind[0].address")]),
        (
            with_policies({"deny": "true"}, {"drop": "true"}, "source"),
            [("CAP_NET_ADMIN", "frontends.web.policies[1]")],
        ),
        (
            config({"address": "*:8080", "transparent": True}),
            [("CAP_NET_RAW or CAP_NET_ADMIN", "frontends.web.bind[0].transparent")],
        ),
        (
            config({"address": "*:8080", "namespace": "blue"}),
            [("CAP_SYS_ADMIN", "frontends.web.bind[0].namespace")],
        ),
        (of_header(), [("CAP_NET_RAW or CAP_NET_ADMIN", "backends.app.source")]),
        (config(backend={"source": "client_ip"}), [("CAP_NET_RAW or CAP_NET_ADMIN", "backends.app.source")]),
        (
            config(backend={"source": "client"}),
            [("CAP_NET_RAW or CAP_NET_ADMIN", "backends.app.source"), ("CAP_NET_BIND_SERVICE", "backends.app.source")],
        ),
        (config(backend={"source": "127.0.0.2"}), []),
        (
            config(server={"address": "127.0.0.1:1", "source": "127.0.0.2:500-600"}),
            [("CAP_NET_BIND_SERVICE", "backends.app.servers.a.source")],
        ),
        (
            config(backend={"source": {"address": "192.0.2.1", "transparent": True}}),
            [("CAP_NET_RAW or CAP_NET_ADMIN", "backends.app.source")],
        ),
        (config(backend={"namespace": "blue"}), [("CAP_SYS_ADMIN", "backends.app.namespace")]),
        (
            config(server={"address": "127.0.0.1:1", "namespace": "blue"}),
            [("CAP_SYS_ADMIN", "backends.app.servers.a.namespace")],
        ),
        (config(backend={"tcp": {"mark": 7}}), [("CAP_NET_RAW or CAP_NET_ADMIN", "backends.app.tcp.mark")]),
        (config(backend={"tcp": {"priority": 6}}), []),
        (
            config({"address": "127.0.0.1:8080", "tcp": {"priority": 7}}),
            [("CAP_NET_RAW or CAP_NET_ADMIN", "frontends.web.bind[0].tcp.priority")],
        ),
    ],
)
def test_each_setting_needs_its_own(given: Any, expected: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(privileges, "PORT_START", tmp_path / "none")
    monkeypatch.setattr(privileges, "kernel", lambda: (6, 1))
    assert spelt(needs(load_dict(given, "x"))) == expected


def test_an_older_kernel_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "kernel", lambda: (5, 4))
    given = config({"address": "*:8080", "interface": "lo"}, {"tcp": {"mark": 7}})
    assert spelt(needs(load_dict(given, "x"))) == [
        ("CAP_NET_RAW", "frontends.web.bind[0].interface"),
        ("CAP_NET_ADMIN", "backends.app.tcp.mark"),
    ]


def test_a_congestion_control_that_is_not_for_everybody_needs_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "allowed").write_text("reno cubic\n")
    monkeypatch.setattr(privileges, "ALLOWED_CONGESTION", tmp_path / "allowed")
    given = config(backend={"tcp": {"congestion": "bbr"}}, bind={"address": "*:1024", "tcp": {"congestion": "reno"}})
    assert spelt(needs(load_dict(given, "x"))) == [("CAP_NET_ADMIN", "backends.app.tcp.congestion")]


def test_the_least_powerful_that_is_there_is_kept_and_none_twice() -> None:
    raw, admin = Need((RAW, ADMIN), "a", "b"), Need((ADMIN,), "c", "d")
    every = frozenset(Capability)
    assert to_keep([raw], every) == {RAW}
    assert to_keep([raw], frozenset({ADMIN, BIND})) == {ADMIN}
    assert to_keep([raw, admin], every) == {ADMIN}
    assert to_keep([raw], frozenset()) == frozenset()
    assert unmet([raw, admin], frozenset({RAW})) == [admin]


def test_who_lacks_one_is_told_which_what_for_and_the_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "effective", frozenset)
    with pytest.raises(ConfigError) as caught:
        Privileges(drops=False).check(load_dict(config(backend={"source": "client"}), "x"))
    (problem,) = caught.value.problems
    for part in ("backends.app.source: ", "CAP_NET_RAW", "--uid", "AmbientCapabilities=CAP_NET_RAW", "setcap"):
        assert part in problem


@pytest.mark.parametrize(("uid", "current", "drops"), [(None, 0, False), (0, 0, False), (7, 7, False), (7, 0, True)])
def test_only_root_that_becomes_another_user_gives_anything_up(uid: int | None, current: int, drops: bool) -> None:
    assert Privileges.of_twistd(uid, False, current)._drops is drops


# twistd, as root


@pytest.fixture
def dropped(open_folder: Path) -> Iterator[Any]:
    """Start ``twistd --uid`` with a configuration; returns the process, which serves already, and its log."""
    started: list[subprocess.Popen[bytes]] = []
    twistd = os.path.join(sysconfig.get_path("scripts"), "twistd")

    def start(given: Any, *options: str) -> tuple[int, Path]:
        (open_folder / "lb.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in given.items()))
        log = open_folder / "stderr.txt"
        words = [twistd, "-n", "--pidfile=", *options, "twisted-lb", "--config", "lb.toml"]
        with log.open("wb") as errors:
            started.append(subprocess.Popen(words, cwd=open_folder, stdout=errors, stderr=errors))
        wait_until(lambda: b"serving on" in log.read_bytes() or started[-1].poll() is not None, "it serves")
        assert started[-1].poll() is None, log.read_text()
        return started[-1].pid, log

    yield start
    for one in started:
        one.terminate()
        try:
            one.wait(15)
        finally:
            one.kill()


def sets(pid: int) -> dict[str, int]:
    (found,) = masks(Path(f"/proc/{pid}/status").read_text())
    return found


def mask(*wanted: Capability) -> int:
    return sum(1 << one for one in wanted)


@pytest.mark.root
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (config("127.0.0.1:0"), ()),
        (config("127.0.0.1:0", {"source": "client_ip"}), (RAW,)),
        (config("127.0.0.1:0", {"source": "client"}), (RAW, BIND)),
        (config({"address": "127.0.0.1:0", "tcp": {"mark": 1}}), (RAW,)),
    ],
)
def test_what_the_configuration_needs_is_kept_and_nothing_else(given: Any, kept: Any, dropped: Any) -> None:
    pid, _ = dropped(given, "--uid", str(NOBODY), "--gid", str(NOBODY))
    assert f"\nUid:\t{NOBODY}\t{NOBODY}\t" in Path(f"/proc/{pid}/status").read_text()
    assert sets(pid) == {"Inh": 0, "Prm": mask(*kept), "Eff": mask(*kept), "Bnd": 0, "Amb": 0}


@pytest.mark.root
def test_with_euid_only_what_is_in_force_is_reduced(dropped: Any) -> None:
    given = config("127.0.0.1:0", {"source": "client_ip"})
    pid, _ = dropped(given, "--uid", str(NOBODY), "--gid", str(NOBODY), "--euid")
    found = sets(pid)
    assert found["Eff"] == mask(RAW)
    assert found["Prm"] == found["Bnd"] == mask(*bounding())


@pytest.mark.root
def test_without_uid_nothing_is_touched(dropped: Any) -> None:
    pid, _ = dropped(config("127.0.0.1:0", {"source": "client_ip"}))
    assert sets(pid) == sets(os.getpid())


@pytest.mark.root
def test_a_reload_that_needs_what_was_given_up_is_refused(dropped: Any, open_folder: Path) -> None:
    pid, log = dropped(config("127.0.0.1:0"), "--uid", str(NOBODY), "--gid", str(NOBODY))
    path = open_folder / "lb.toml"
    path.write_text(path.read_text().replace('"servers"', '"source" = "client", "servers"'))
    os.kill(pid, signal.SIGHUP)
    why = "CAP_NET_RAW or CAP_NET_ADMIN, which this process gave up when it changed its user"
    wait_until(lambda: why in log.read_text(), "the reload is refused")
    assert "reload refused" in log.read_text()
