"""What keeps the proxy from starting is said in clear messages on standard error, with status 1 and no traceback."""

import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import abstract

TWISTD = os.path.join(sysconfig.get_path("scripts"), "twistd")
SETTINGS = """
[frontends.web]
bind = {bind}
backend = "app"
{frontend}
[backends.app]
{backend}
[backends.app.servers]
a = "127.0.0.1:9"
"""


def problems_in(stderr: str) -> list[str]:
    """What was said, without the program's name, and without the lines in which twistd says that it begins."""
    lines = [line for line in stderr.splitlines() if not re.match(r"\S+ info \[", line)]
    assert lines
    assert all(line.startswith("twisted-lb: ") for line in lines), stderr
    return [line.removeprefix("twisted-lb: ") for line in lines]


class Attempt:
    """A start that fails. ``problems``: what it said, without the program's name."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], before: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(folder)
        done = subprocess.run(
            [*before, TWISTD, "-n", "--pidfile=", "twisted-lb", *arguments],
            cwd=folder,
            env=environment,
            pass_fds=pass_fds,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout == ""
        self.problems = problems_in(done.stderr)


def attempt(
    folder: Path,
    bind: Any = "127.0.0.1:0",
    frontend: str = "",
    backend: str = "",
    top: str = "",
    **options: Any,
) -> list[str]:
    """Try to start with a configuration of these pieces; returns what it said."""
    binds = repr(bind).replace("'", '"')
    (folder / "lb.toml").write_text(top + SETTINGS.format(bind=binds, frontend=frontend, backend=backend))
    return Attempt(folder, ["--config", "lb.toml"], **options).problems


@pytest.fixture
def taken() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_in_use_is_named(tmp_path: Path, taken: int) -> None:
    (problem,) = attempt(tmp_path, f"127.0.0.1:{taken}")
    assert problem.startswith(f"cannot listen on 127.0.0.1:{taken}: Address already in use")


def test_a_port_in_use_within_a_range_is_named(tmp_path: Path, taken: int) -> None:
    (problem,) = attempt(tmp_path, f"127.0.0.1:{taken}-{taken + 5}")
    assert f"127.0.0.1:{taken} " in problem


def test_a_port_in_use_is_named_on_the_command_line_too(tmp_path: Path, taken: int) -> None:
    (problem,) = Attempt(tmp_path, ["--listen", f"127.0.0.1:{taken}", "--server", "127.0.0.1:9"]).problems
    assert f"127.0.0.1:{taken}" in problem


@pytest.mark.parametrize("reactor", ["select", "asyncio"])
def test_it_is_the_same_with_every_reactor(tmp_path: Path, taken: int, reactor: str) -> None:
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [TWISTD, "-n", "--pidfile=", f"--reactor={reactor}", "twisted-lb", "--listen", f"127.0.0.1:{taken}"]
    done = subprocess.run(
        [*command, "--server", "127.0.0.1:9"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 1
    (problem,) = problems_in(done.stderr)
    assert f"127.0.0.1:{taken}" in problem


@pytest.mark.linux
def test_one_listener_that_cannot_open_means_that_none_stays_open(tmp_path: Path, taken: int) -> None:
    # Held until the process is gone, an abstract name tells whether anybody could have connected at the end.
    path = tmp_path / "lb.sock"
    problems = attempt(tmp_path, [f"unix:{path}", f"unix:@{abstract('none')}", f"127.0.0.1:{taken}", "192.0.2.1:80"])
    assert len(problems) == 2, "each listener that cannot open is named"
    assert not path.exists()


def test_a_misspelt_key_names_the_nearest_valid_one(tmp_path: Path) -> None:
    (problem,) = attempt(tmp_path, frontend="polices = []")
    assert "lb.toml: frontends.web.polices" in problem
    assert '"policies"' in problem


def test_every_bad_key_is_told_at_once(tmp_path: Path) -> None:
    problems = attempt(tmp_path, frontend="polices = []\nmaxconn = 0", backend='retries = "x"')
    assert [problem.split(": ")[1] for problem in problems] == [
        "frontends.web.polices",
        "frontends.web.maxconn",
        "backends.app.retries",
    ]


def test_what_is_no_toml_is_shown_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text("[frontends.web\n")
    (problem,) = Attempt(tmp_path, ["--config", "lb.toml"]).problems
    assert "lb.toml: line 1" in problem


def test_an_unknown_plugin_lists_the_known_ones(tmp_path: Path) -> None:
    (problem,) = attempt(tmp_path, backend='balance = "fairest"')
    for known in ("first", "least_conn", "random", "round_robin"):
        assert known in problem


BROKEN_PLUGINS = {
    "lb_raises": ("raise RuntimeError('not today')", "not today"),
    "lb_syntax": ("def (", "SyntaxError"),
    "lb_import": ("import no_such_dependency", "no_such_dependency"),
    "lb_exits": ("raise SystemExit(7)", "SystemExit"),
    "lb_empty": ("", "implements no hook"),
    "lb_misspelt": ("@hookimpl\ndef lb_balancer(): return {}", 'did you mean "lb_balancers"'),
    "lb_hook": ("@hookimpl\ndef lb_balancers(): raise RuntimeError('not now')", "not now"),
    "lb_twice": ("@hookimpl\ndef lb_balancers(): return {'first': Supply(lambda options: None)}", "supplied twice"),
}


def test_plugins_that_do_not_load_are_all_named(tmp_path: Path) -> None:
    for name, (text, _) in BROKEN_PLUGINS.items():
        (tmp_path / f"{name}.py").write_text(f"from twisted_lb.api import Supply, hookimpl\n{text}\n")
    names = ", ".join(f'"{name}"' for name in [*BROKEN_PLUGINS, "lb_nowhere"])
    problems = attempt(tmp_path, top=f"plugins = [{names}]\n")
    assert len(problems) == len(BROKEN_PLUGINS) + 1, problems
    for name, (_, said) in [*BROKEN_PLUGINS.items(), ("lb_nowhere", ("", "No module named"))]:
        assert [problem for problem in problems if name in problem and said in problem], (name, problems)


PLUGIN = """
from zope.interface import implementer
from twisted_lb.api import IBalancer, Supply, hookimpl

@implementer(IBalancer)
class Lacking:
    pass

@hookimpl
def lb_balancers():
    return {
        "undeclared": Supply(lambda options: object()),
        "lacking": Supply(lambda options: Lacking()),
        "failing": Supply(lambda options: 1 / 0),
    }
"""


def test_plugins_that_break_their_contract_are_named_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "lb_contract.py").write_text(PLUGIN)
    backends = "".join(
        f'[backends.{name}]\nbalance = "{name}"\nservers = {{ a = "127.0.0.1:9" }}\n'
        for name in ("undeclared", "lacking", "failing")
    )
    (tmp_path / "lb.toml").write_text(
        f'plugins = ["lb_contract"]\n{SETTINGS.format(bind=["127.0.0.1:0"], frontend="", backend="")}{backends}'
    )
    problems = "\n".join(Attempt(tmp_path, ["--config", "lb.toml"]).problems)
    assert 'backends.undeclared.balance: plugin "lb_contract": object is no IBalancer' in problems
    assert 'backends.lacking.balance: plugin "lb_contract": Lacking is no IBalancer: it lacks method choose' in problems
    assert 'backends.failing.balance: plugin "lb_contract" failed to build' in problems
    assert "ZeroDivisionError" in problems


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = Attempt(tmp_path, ["--config", "lb.toml"]).problems
    assert problem == f"{tmp_path}/lb.toml: cannot be read: No such file or directory"


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (problem,) = attempt(tmp_path, frontend='access_log = { use = "json", path = "missing/access.json" }')
    assert f"cannot write to {tmp_path}/missing/access.json" in problem
    (problem,) = attempt(tmp_path, top='process = { log_file = "missing/lb.log" }')
    assert f"cannot write to {tmp_path}/missing/lb.log" in problem


@pytest.mark.parametrize("bind", ["tcp:x", "tcp:80:interfaze=127.0.0.1", "systemd:domain=INET:index=0"])
def test_an_endpoint_description_that_twisted_does_not_understand_is_quoted(tmp_path: Path, bind: str) -> None:
    (problem,) = attempt(tmp_path, bind)
    assert f'"{bind}"' in problem


def test_a_maxconn_beyond_the_descriptor_limit_says_what_there_is(tmp_path: Path) -> None:
    (problem,) = attempt(tmp_path, top="process = { maxconn = 200 }", before=["prlimit", "--nofile=256:256"])
    assert "process.maxconn = 200 needs" in problem
    assert "the limit is 256" in problem


def test_a_descriptor_that_nobody_passed_is_named(tmp_path: Path) -> None:
    (problem,) = attempt(tmp_path, "fd:77")
    assert "fd:77" in problem
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        bind = f"fd:{datagrams.fileno()}"
        (problem,) = attempt(tmp_path, bind, pass_fds=[datagrams.fileno()])
    assert f"{bind}: it is no stream socket" in problem


# Who and where


ORDINARY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def reachable(path: str) -> bool:
    """Whether an ordinary user can read what is there."""
    return subprocess.run([*ORDINARY, "test", "-r", path], check=False).returncode == 0


@pytest.mark.root
@pytest.mark.linux
@pytest.mark.daemon("setpriv")
def test_a_port_that_needs_root_is_an_error_for_an_ordinary_user(tmp_path: Path) -> None:
    if not reachable(TWISTD) or not reachable(os.path.dirname(sys.modules["twisted_lb"].__file__ or "")):
        pytest.skip("the package is where no ordinary user can read it")
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 900:
        pytest.skip("here everybody may listen on low ports")
    arguments = ["--listen", "127.0.0.1:899", "--server", "127.0.0.1:9"]
    (problem,) = Attempt(Path("/"), arguments, before=ORDINARY).problems
    assert "127.0.0.1:899: Permission denied" in problem
    assert "CAP_NET_BIND_SERVICE" in problem
