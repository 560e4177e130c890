"""The files for operators do what they say: supervisord and systemd start, reload and stop the proxy as it wants it.

supervisord runs for real. systemd is not there to be process 1, so what the unit tells it to do is done by hand.
"""

import configparser
import getpass
import os
import resource
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from twisted_lb.config.model import Process

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Wait

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT_S = 15

MAIN = """\
[unix_http_server]
file={folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[include]
files = {folder}/twisted-lb.conf
"""
"""What Debian's /etc/supervisor/supervisord.conf holds; our file is included by it."""

LISTENER_PASSED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Starts a program as systemd starts a service with one socket."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT_S)


def speak(sock: socket.socket, data: bytes = b"hello") -> None:
    sock.sendall(data)
    assert sock.recv(len(data), socket.MSG_WAITALL) == data


def refuses(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def write_config(path: Path, bind: str, server: int, server_name: str = "a") -> None:
    path.write_text(
        f'[frontends.web]\nbind = "{bind}"\nbackend = "app"\n'
        f'[backends.app.servers]\n{server_name} = "127.0.0.1:{server}"\n'
    )


def substituted(name: str, **words: str) -> str:
    """The text of an operator's file with the paths of this machine; each word must be in it."""
    text = (HOW_TO / name).read_text()
    for old, new in words.items():
        assert PLACES[old] in text
        text = text.replace(PLACES[old], new)
    return text


PLACES = {
    "twistd": "/opt/twisted-lb/bin/twistd",
    "config": "/etc/twisted-lb/lb.toml",
    "logs": "/var/log/twisted-lb",
    "user": "user=twisted-lb",
    "descriptors": "minfds=65536",
}


# supervisord


class Supervisor:
    """A running supervisord. ``control``: what supervisorctl prints for a command."""

    def __init__(self, folder: Path, port: int, echo: int) -> None:
        self.folder = folder
        self.port = port
        self.config = folder / "lb.toml"
        write_config(self.config, f"127.0.0.1:{port}", echo)
        self.descriptors = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        (folder / "main.conf").write_text(MAIN.format(folder=folder))
        (folder / "twisted-lb.conf").write_text(
            substituted(
                "supervisord.conf",
                twistd=str(SCRIPTS / "twistd"),
                config=str(self.config),
                logs=str(folder),
                user=f"user={getpass.getuser()}",
                descriptors=f"minfds={self.descriptors}",
            )
        )
        with (folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [SCRIPTS / "supervisord", "-n", "-c", folder / "main.conf"],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def begin(self, *command: str) -> "subprocess.Popen[str]":
        """Start supervisorctl."""
        words = [str(SCRIPTS / "supervisorctl"), "-c", str(self.folder / "main.conf"), *command]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def control(self, *command: str) -> str:
        return self.begin(*command).communicate(timeout=TIMEOUT_S)[0]

    def pid(self) -> int:
        return int(self.control("pid", "twisted-lb"))

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()


@pytest.fixture
def supervisor(tmp_path: Path, free_port: "FreePort", echo: int, wait: "Wait") -> Iterator[Supervisor]:
    """A supervisord that has the proxy running."""
    supervisor = Supervisor(tmp_path, free_port(), echo)
    try:
        wait(lambda: "serving on" in supervisor.read("events.log"), "the proxy serves")
        yield supervisor
    finally:
        supervisor.end()


def test_supervisord_starts_the_proxy_with_its_logs_and_descriptors(supervisor: Supervisor, wait: "Wait") -> None:
    with connect(supervisor.port) as client:
        speak(client)
    wait(lambda: " web app/a " in supervisor.read("access.log"), "the connection's record")
    wait(lambda: "RUNNING" in supervisor.control("status"), "it counts as running")
    limits = Path(f"/proc/{supervisor.pid()}/limits").read_text()
    assert f"Max open files            {supervisor.descriptors} " in limits


def test_supervisorctl_reloads_the_proxy_and_live_connections_go_on(
    supervisor: Supervisor, echo: int, wait: "Wait"
) -> None:
    pid = supervisor.pid()
    with connect(supervisor.port) as client:
        speak(client)
        write_config(supervisor.config, f"127.0.0.1:{supervisor.port}", echo, server_name="renamed")
        assert "signalled" in supervisor.control("signal", "HUP", "twisted-lb")
        wait(lambda: "reloaded; serving on" in supervisor.read("events.log"), "the reload")
        with connect(supervisor.port) as another:
            speak(another)
        speak(client)
    wait(lambda: supervisor.read("access.log").count("\n") == 2, "both records")
    assert " web app/renamed " in supervisor.read("access.log")
    assert " web app/a " in supervisor.read("access.log")
    assert supervisor.pid() == pid


def test_supervisorctl_stops_the_proxy_when_its_last_connection_has_finished(
    supervisor: Supervisor, wait: "Wait"
) -> None:
    with connect(supervisor.port) as client:
        speak(client)
        stopping = supervisor.begin("stop", "twisted-lb")
        wait(lambda: refuses(supervisor.port), "no new connections")
        speak(client, b"still here")
        assert stopping.poll() is None
    assert "stopped" in stopping.communicate(timeout=TIMEOUT_S)[0]
    assert "STOPPED" in supervisor.control("status")
    assert "connections may finish within 30.0 s" in supervisor.read("events.log")
    assert "exit status 0" in supervisor.read("supervisord.log")
    assert " -- " in supervisor.read("access.log")


# systemd


class Unit(dict[str, list[str]]):
    """The settings of a unit file's ``[Service]`` section; each may be there several times."""

    def __init__(self, text: str) -> None:
        super().__init__()
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                key, _, value = line.partition("=")
                self.setdefault(key, []).append(value)

    def commands(self, key: str, pid: int = 0) -> list[list[str]]:
        return [shlex.split(line.replace("$MAINPID", str(pid))) for line in self[key]]


class Service:
    """The proxy as the unit starts it, after ``before``."""

    def __init__(self, folder: Path, before: Sequence[str] = (), **options: Any) -> None:
        text = substituted("twisted-lb.service", twistd=str(SCRIPTS / "twistd"), config=str(folder / "lb.toml"))
        self.unit = Unit(text)
        self._errors = folder / "errors.txt"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*before, *self.unit.commands("ExecStart")[0]],
                cwd="/",
                stdout=subprocess.DEVNULL,
                stderr=errors,
                **options,
            )

    def errors(self) -> str:
        return self._errors.read_text()

    def reload(self) -> int:
        """Run the ExecReload commands as systemd does: up to the first that fails. Returns the last status."""
        for command in self.unit.commands("ExecReload", self.process.pid):
            done = subprocess.run(command, cwd="/", capture_output=True, timeout=TIMEOUT_S, check=False)
            if done.returncode:
                return done.returncode
        return 0

    def stop(self) -> None:
        """Send the signal that the unit names, to the main process only."""
        assert self.unit["KillMode"] == ["mixed"]
        self.process.send_signal(signal.Signals[self.unit["KillSignal"][0]])


@pytest.fixture
def service(tmp_path: Path, wait: "Wait") -> Iterator[Callable[..., Service]]:
    """Start the proxy as the unit does; the configuration is ``lb.toml`` in ``tmp_path``."""
    started: list[Service] = []

    def start(*before: str, **options: Any) -> Service:
        service = Service(tmp_path, before, **options)
        started.append(service)
        wait(lambda: "serving on" in service.errors() or service.process.poll() is not None, "the proxy serves")
        assert service.process.poll() is None, service.errors()
        return service

    yield start
    for service in started:
        service.process.kill()
        service.process.wait(TIMEOUT_S)


@pytest.mark.daemon("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    service = substituted("twisted-lb.service", twistd=str(SCRIPTS / "twistd"))
    (tmp_path / "twisted-lb.service").write_text(service)
    (tmp_path / "twisted-lb.socket").write_text(substituted("twisted-lb.socket"))
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "twisted-lb.service", tmp_path / "twisted-lb.socket"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_is_told_when_the_proxy_serves_and_when_it_stops(
    tmp_path: Path, free_port: "FreePort", echo: int, service: Callable[..., Service]
) -> None:
    port = free_port()
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{port}", echo)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT_S)
        running = service(env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert running.unit["Type"] == ["notify"]
        assert manager.recv(100) == b"READY=1"
        connect(port).close()
        running.stop()
        assert manager.recv(100) == b"STOPPING=1"


def test_the_unit_reloads_what_is_right_and_refuses_what_is_wrong(
    tmp_path: Path, free_port: "FreePort", echo: int, service: Callable[..., Service], wait: "Wait"
) -> None:
    port, other = free_port(), free_port()
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{port}", echo)
    running = service()
    (tmp_path / "lb.toml").write_text("[frontends.web]\n")
    assert running.reload() == 1
    assert "reload refused" not in running.errors()  # the check failed, so the proxy was not even asked
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{other}", echo)
    assert running.reload() == 0
    wait(lambda: "reloaded; serving on" in running.errors(), "the reload")
    with connect(other) as client:
        speak(client)
    assert refuses(port)


def test_the_unit_stops_the_proxy_when_its_last_connection_has_finished(
    tmp_path: Path, free_port: "FreePort", echo: int, service: Callable[..., Service], wait: "Wait"
) -> None:
    port = free_port()
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{port}", echo)
    running = service()
    with connect(port) as client:
        speak(client)
        running.stop()
        wait(lambda: refuses(port), "no new connections")
        speak(client, b"still here")
        assert running.process.poll() is None
    assert running.process.wait(TIMEOUT_S) == 0


def test_a_passed_socket_loses_no_client_before_during_and_after_a_restart(
    tmp_path: Path, echo: int, service: Callable[..., Service], wait: "Wait"
) -> None:
    write_config(tmp_path / "lb.toml", "fd:3", echo)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        passing = [sys.executable, "-c", LISTENER_PASSED, str(listener.fileno())]
        with connect(port) as early:
            running = service(*passing, pass_fds=(listener.fileno(),))
            speak(early)
            running.stop()
            wait(lambda: "stopping: 1 connections" in running.errors(), "the graceful stop")
            late = connect(port)
            speak(early, b"still here")
        assert running.process.wait(TIMEOUT_S) == 0
        with late:
            service(*passing, pass_fds=(listener.fileno(),))
            speak(late)


@pytest.mark.root
@pytest.mark.daemon("setpriv")
def test_the_unit_s_one_capability_is_all_that_a_low_port_takes(
    tmp_path: Path, echo: int, service: Callable[..., Service]
) -> None:
    port = next(port for port in range(1023, 600, -1) if refuses(port))
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{port}", echo)
    unit = Unit(substituted("twisted-lb.service"))
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    # Still user 0, who owns this Python, but "noroot" takes what being root would add.
    running = service(
        "setpriv",
        "--securebits=+noroot",
        *(f"--{which}=-all,+net_bind_service" for which in ("inh-caps", "ambient-caps", "bounding-set")),
        "--no-new-privs",
    )
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    assert "CapEff:\t0000000000000400\n" in status
    with connect(port) as client:
        speak(client)


def test_both_wait_longer_than_the_proxy_s_own_grace() -> None:
    program = configparser.RawConfigParser()
    program.read_string((HOW_TO / "supervisord.conf").read_text())
    unit = Unit((HOW_TO / "twisted-lb.service").read_text())
    grace_s = float(Process().graceful_stop)
    assert program.getint("program:twisted-lb", "stopwaitsecs") > grace_s
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) > grace_s


# What both rely on


def test_a_supervisor_that_no_longer_reads_the_output_does_not_hold_up_the_proxy(
    tmp_path: Path, free_port: "FreePort", echo: int, wait: "Wait"
) -> None:
    # Seen: after 801 connections the pipe was full of access records, and the proxy stood still.
    port = free_port()
    write_config(tmp_path / "lb.toml", f"127.0.0.1:{port}", echo)
    read_end, write_end = os.pipe()
    command = [str(SCRIPTS / "twistd"), "-n", "twisted-lb", "--config", str(tmp_path / "lb.toml")]
    errors = tmp_path / "errors.txt"
    with errors.open("wb") as file, os.fdopen(read_end, "rb", buffering=0) as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=write_end, stderr=file)
        os.close(write_end)
        try:
            wait(lambda: "serving on" in errors.read_text(), "the proxy serves")
            for _ in range(1200):
                with connect(port) as client:
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
            lines = output.read(1 << 20).splitlines()
            assert len(lines) < 1200
            assert all(b" web app/a " in line for line in lines)
            with connect(port) as client:
                speak(client)
            wait(lambda: "lines for a standard stream were lost" in errors.read_text(), "the loss is told")
        finally:
            process.kill()
            process.wait(TIMEOUT_S)
