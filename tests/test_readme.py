"""Every claim of the README, tried as a new user would: in a fresh virtual environment, outside the source tree.

The commands, files and messages are taken from the README itself. Its ports are replaced by free ones, except that of
the demo. pip fetches what the project needs, so this takes a package index, and about a minute.
"""

import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TIMEOUT_S = 30
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "*.egg-info")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


DEMO, TEST, SMALL, CONFIG, PLUGIN, CONTRIBUTE = blocks("sh")
CONFIG_TOML, PLUGIN_TOML = blocks("toml")
(PLUGIN_PY,) = blocks("python")
(MESSAGES,) = blocks("text")


def as_a_new_user() -> dict[str, str]:
    """The environment without what this Python, its virtual environment and its pytest add to it."""
    ours = ("PYTEST", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHON": sys.executable, "APT": "no"}


def run(command: str, cwd: Path, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        env=as_a_new_user(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the README's second command has done its set-up, which includes the first one's."""
    folder = tmp_path_factory.mktemp("new-user") / "twisted-lb"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    before = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
    done = run(TEST.partition(" && ")[0], folder)
    assert done.returncode == 0, done.stderr
    left = {path for path in folder.rglob("*") if "__pycache__" not in path.parts} - before
    assert all(path.is_relative_to(folder / ".venv") for path in left), "nothing but .venv is left behind"
    return folder


@pytest.fixture
def bin_folder(checkout: Path) -> str:
    return f"{checkout}/.venv/bin/"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class _Named(socketserver.BaseRequestHandler):
    """Says its server's name, then sends back what it gets."""

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        self.request.sendall(self.server.name)
        while data := self.request.recv(4096):
            self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, name: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Named)
        self.name = name


@pytest.fixture
def servers() -> Iterator[list[int]]:
    """The ports of two servers, which say ``A`` and ``B`` to begin with."""
    running = [_Server(b"A"), _Server(b"B")]
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in running]
    for thread in threads:
        thread.start()
    yield [server.server_address[1] for server in running]
    for server, thread in zip(running, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


class Running:
    """A command of the README that goes on until it is stopped."""

    def __init__(self, command: str, cwd: Path) -> None:
        self.log = cwd / "stderr.txt"
        self.records = cwd / "stdout.txt"
        with self.log.open("wb") as errors, self.records.open("wb") as output:
            self.process = subprocess.Popen(
                command.strip(),
                shell=True,
                cwd=cwd,
                env=as_a_new_user(),
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    def wait_for(self, text: str, times: int = 1, where: str = "log", timeout_s: float = TIMEOUT_S) -> None:
        """Wait until it has written ``text``."""
        path: Path = getattr(self, where)
        deadline = time.monotonic() + timeout_s
        while path.read_text().count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {path.read_text()} {self.log.read_text()}"
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command and its children, as Ctrl-C does."""
        os.killpg(self.process.pid, number)


@contextmanager
def running(command: str, cwd: Path) -> Iterator[Running]:
    started = Running(command, cwd)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait(TIMEOUT_S)


def replaced(text: str, words: dict[str, object]) -> str:
    for old, new in words.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT_S)


def greeting(port: int) -> bytes:
    with connect(port) as client:
        return client.recv(1)


# The two commands


@pytest.mark.daemon("curl")
def test_one_command_starts_a_demo_that_says_what_to_try_and_that_does_it(checkout: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("something else listens on 127.0.0.1:8080")
    with running(f"cd {checkout} && {DEMO}", tmp_path) as demo:
        demo.wait_for("The demo is running")
        commands = re.findall(r"(curl \S+)", demo.log.read_text())
        assert len(commands) == 2
        answers = [run(f"{commands[0]} -s", tmp_path).stdout for _ in range(4)]
        assert [re.findall("red|blue", answer) for answer in answers] == [["red"], ["blue"]] * 2
        on_one_connection = run(f"{commands[1]} -s", tmp_path).stdout
        assert len(set(re.findall("red|blue", on_one_connection))) == 1
        assert on_one_connection.count("Hello from") == 4
        demo.wait_for(" -- ", 5, where="records")
        demo.send(signal.SIGINT)
        demo.process.wait(TIMEOUT_S)
        assert "Traceback" not in demo.log.read_text()


def test_one_command_runs_the_tests_on_what_it_installed(checkout: Path) -> None:
    done = run(TEST.strip() + " tests/config/test_units.py tests/test_packaging.py", checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)
    assert "skipped" not in done.stdout  # the test that wants a regular install ran too


def test_continuous_integration_runs_that_very_command() -> None:
    assert TEST.strip() in (ROOT / ".ci" / "run").read_text()


# The tour


def test_the_small_command_line_balances_over_its_servers(bin_folder: str, tmp_path: Path, servers: list[int]) -> None:
    port = free_port()
    command = replaced(
        SMALL, {".venv/bin/": bin_folder, ":8080": f":{port}", ":9001": f":{servers[0]}", ":9002": f":{servers[1]}"}
    )
    with running(command, tmp_path) as proxy:
        proxy.wait_for("serving on")
        assert [greeting(port) for _ in range(4)] == [b"A", b"B"] * 2
        proxy.wait_for(" -- ", 4, where="records")


def test_two_run_from_one_folder_that_nobody_may_write_to(bin_folder: str, tmp_path: Path, servers: list[int]) -> None:
    # Seen: "Another twistd server is running", and a traceback where twistd.pid could not be written.
    elsewhere = [tmp_path / "1", tmp_path / "2"]
    for folder in elsewhere:
        folder.mkdir()
    ports = [free_port(), free_port()]
    commands = [
        f"cd /proc/self && exec {bin_folder}twistd -n twisted-lb -l 127.0.0.1:{port} -s 127.0.0.1:{servers[0]}"
        for port in ports
    ]
    with running(commands[0], elsewhere[0]) as one, running(commands[1], elsewhere[1]) as two:
        for proxy, port in zip((one, two), ports, strict=True):
            proxy.wait_for("serving on")
            assert greeting(port) == b"A"


@pytest.fixture
def configured(bin_folder: str, tmp_path: Path, servers: list[int]) -> Callable[..., tuple[str, int]]:
    """Write the README's file with free ports, changed by ``more``; returns the command that runs it, and the port."""
    port = free_port()

    def write(more: dict[str, object] | None = None) -> tuple[str, int]:
        places: dict[str, object] = {
            ":8080": f":{port}",
            "7000-7099": "0",
            "/tmp/web.sock": tmp_path / "web.sock",
            ":9001": f":{servers[0]}",
            ":9002": f":{servers[1]}",
        }
        if not has_ipv6():
            places[', "[::1]:8080"'] = ""
        text = replaced(CONFIG_TOML, dict(sorted(places.items(), key=lambda place: "::1" not in place[0])))
        (tmp_path / "lb.toml").write_text(replaced(text, more or {}))
        return replaced(CONFIG.splitlines()[1], {".venv/bin/": bin_folder}), port

    return write


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_the_file_is_valid_as_it_stands_there(bin_folder: str, tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text(CONFIG_TOML)
    done = run(replaced(CONFIG.splitlines()[0], {".venv/bin/": bin_folder}), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_file_listens_everywhere_logs_json_and_denies(
    configured: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    command, port = configured({"203.0.113.0/24": "127.0.0.2/32"})
    with running(command, tmp_path) as proxy:
        proxy.wait_for("serving on")
        assert greeting(port) in b"AB"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "web.sock"))
            assert client.recv(1) in b"AB"
        proxy.wait_for('"ending":"--"', 2, where="records")
        with (
            pytest.raises(ConnectionError),
            socket.create_connection(("127.0.0.1", port), TIMEOUT_S, ("127.0.0.2", 0)) as denied,
        ):
            denied.recv(1)
        proxy.wait_for('"ending":"PR"', where="records")


def test_what_is_wrong_is_said_at_once_as_the_readme_shows(
    configured: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    command, _ = configured({"client = ": "cleint = ", 'backend = "app"': 'backend = "ap"'})
    done = run(command, tmp_path)
    assert done.returncode == 1
    assert done.stderr == MESSAGES.replace("/home/you", str(tmp_path))


def test_sigterm_lets_live_connections_finish_and_a_second_one_does_not(
    configured: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    command, port = configured()
    with running(f"exec {command}", tmp_path) as proxy:
        proxy.wait_for("serving on")
        with connect(port) as client:
            assert client.recv(1) in b"AB"
            proxy.send(signal.SIGTERM)
            proxy.wait_for("connections may finish within 30.0 s")
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            proxy.send(signal.SIGTERM)
            assert proxy.process.wait(TIMEOUT_S) == 0
        assert '"ending":"KD"' in proxy.records.read_text()


def test_sighup_takes_a_right_file_and_refuses_a_wrong_one_and_live_connections_go_on(
    configured: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    command, port = configured()
    with running(f"exec {command}", tmp_path) as proxy:
        proxy.wait_for("serving on")
        with connect(port) as client:
            assert client.recv(1) in b"AB"
            configured({"weight = 2": "weight = -2"})
            proxy.send(signal.SIGHUP)
            proxy.wait_for("reload refused")
            assert greeting(port) in b"AB"
            configured({"least_conn": "first"})
            proxy.send(signal.SIGHUP)
            proxy.wait_for("reloaded; serving on")
            assert [greeting(port) for _ in range(3)] == [b"A"] * 3
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_sigusr1_opens_the_log_files_anew(configured: Callable[..., tuple[str, int]], tmp_path: Path) -> None:
    log = tmp_path / "access.json"
    command, port = configured({'access_log = "json"': f'access_log = {{ use = "json", path = "{log}" }}'})
    with running(f"exec {command}", tmp_path) as proxy:
        proxy.wait_for("serving on")
        log.rename(tmp_path / "moved.json")
        proxy.send(signal.SIGUSR1)
        deadline = time.monotonic() + TIMEOUT_S
        while not log.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        greeting(port)
        while not log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (tmp_path / "moved.json").read_text() == ""


def test_the_codes_tell_who_ended_a_connection(bin_folder: str, tmp_path: Path) -> None:
    port = free_port()
    command = f"exec {bin_folder}twistd -n twisted-lb --listen 127.0.0.1:{port} --server 127.0.0.1:{free_port()}"
    with running(command, tmp_path) as proxy:
        proxy.wait_for("serving on")
        assert greeting(port) == b""
        proxy.wait_for(" main/s1 ", where="records")
        assert " SC " in proxy.records.read_text()


# The plugin


def test_the_plugin_sends_a_client_to_the_same_server_each_time(
    bin_folder: str, tmp_path: Path, servers: Sequence[int]
) -> None:
    assert len(PLUGIN_PY.splitlines()) <= 25
    port = free_port()
    (tmp_path / "lb_by_source.py").write_text(PLUGIN_PY)
    (tmp_path / "lb.toml").write_text(
        replaced(PLUGIN_TOML, {":8080": f":{port}", ":9001": f":{servers[0]}", ":9002": f":{servers[1]}"})
    )
    with running(replaced(PLUGIN, {".venv/bin/": bin_folder}), tmp_path) as proxy:
        proxy.wait_for("serving on")
        assert len({greeting(port) for _ in range(6)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"def lb_balancers": "def lb_balancer"}, 'there is no hook "lb_balancer"; did you mean "lb_balancers"?'),
        ({"def choose(": "def chose("}, "it lacks method choose(candidates, facts)"),
        ({"salt: str": "slat: str"}, 'backends.app.balance.salt: unknown key; did you mean "slat"?'),
    ],
)
def test_a_mistake_in_the_plugin_is_an_error_at_start_up(
    bin_folder: str, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "lb_by_source.py").write_text(replaced(PLUGIN_PY, change))
    (tmp_path / "lb.toml").write_text(PLUGIN_TOML)
    done = run(replaced(PLUGIN, {".venv/bin/": bin_folder}), tmp_path)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_plugin_that_fails_later_ends_that_connection_and_is_named(
    bin_folder: str, tmp_path: Path, servers: Sequence[int]
) -> None:
    port = free_port()
    (tmp_path / "lb_by_source.py").write_text(
        replaced(PLUGIN_PY, {"        return candidates": "        return facts"})
    )
    (tmp_path / "lb.toml").write_text(replaced(PLUGIN_TOML, {":8080": f":{port}", ":9001": f":{servers[0]}"}))
    with running(replaced(PLUGIN, {".venv/bin/": bin_folder}), tmp_path) as proxy:
        proxy.wait_for("serving on")
        assert greeting(port) == b""
        proxy.wait_for("plugin lb_by_source failed")
        proxy.wait_for(" IC ", where="records")
        assert greeting(port) == b""


# What it does not


@pytest.mark.parametrize("setting", ['alpn = ["h2"]', 'tls = { certificate = "x" }'])
def test_a_setting_for_what_it_does_not_do_is_an_error(
    configured: Callable[..., tuple[str, int]], tmp_path: Path, setting: str
) -> None:
    command, _ = configured({'access_log = "json"': setting})
    done = run(command, tmp_path)
    assert done.returncode == 1
    assert f"frontends.web.{setting.partition(' ')[0]}: " in done.stderr


# For those who change it; last, since it changes the environment.


def test_an_editable_install_runs_the_checkout_s_own_code(checkout: Path, bin_folder: str, tmp_path: Path) -> None:
    done = run(CONTRIBUTE, checkout)
    assert done.returncode == 0, done.stderr
    init = checkout / "twisted_lb" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.8.7"', init.read_text()))
    assert run(f"{bin_folder}twistd -n twisted-lb --version", tmp_path).stdout == "twisted-lb 9.8.7\n"
