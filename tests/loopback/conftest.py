"""A proxy as its users run it: a ``twistd`` process with a configuration file, in a folder outside the source tree.

Fixtures: ``proxy`` starts one for one test, ``module_proxy`` one that the tests of a module share. Both are called with
the configuration as the file's nested tables::

    def test_it(proxy: "StartProxy", free_port: "FreePort") -> None:
        port = free_port()
        running = proxy(tcp(f"127.0.0.1:{port}", "127.0.0.1:9001"))
        ...
        assert running.records(1)[0]["ending"] == "--"

(``tcp`` is the fixture ``tcp_config``.) At the end each is stopped with SIGTERM, must exit with status 0, and must not
have written a traceback. All waiting is for something, with a deadline.
"""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

DEADLINE_S = 15.0
"""How long anything may take that should take milliseconds, on a machine that is busy with something else."""
DEFECTS = re.compile(r"Traceback|Unhandled|unhandled error|critical", re.IGNORECASE)
"""What a healthy proxy never writes to its standard error."""
PORTS = range(20000, 32000)
"""Below the kernel's ephemeral ports, so that no outgoing connection takes one in between."""
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""Which of how many processes this is that run tests side by side; each has ports of its own."""

T = TypeVar("T")
Config = Mapping[str, Any]
FreePort = Callable[[], int]
Wait = Callable[..., Any]
StartProxy = Callable[..., "Proxy"]


def wait_until(probe: Callable[[], T], what: str, timeout_s: float = DEADLINE_S) -> T:
    """Call ``probe`` until it answers something true, and return that; fail with ``what`` after ``timeout_s``."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.001
    while not (answer := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.02)
    return answer


def toml(value: Any) -> str:
    """Spell a value as TOML; tables inline."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Proxy:
    """A running proxy. ``pid``, ``folder`` (its working directory), ``arguments``; ``may_complain``: a traceback on
    its standard error is expected.

    Unless the configuration says otherwise, every connection's record goes to ``access.json`` in ``folder``, and a stop
    waits 2 s for connections to finish.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        arguments: Sequence[str] = (),
        reactor: str | None = None,
        before: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """``arguments``: after ``--config FILE``. ``reactor``: twistd's ``--reactor``. ``before``: words put in front
        of the command, such as ``["prlimit", "--nofile=64"]``. ``pass_fds``: descriptors that it inherits.
        """
        self.folder = folder
        self.log = folder / "access.json"
        self.errors = folder / "stderr.txt"
        self.may_complain = False
        self.configure(config)
        twistd = os.path.join(sysconfig.get_path("scripts"), "twistd")
        chosen = [] if reactor is None else [f"--reactor={reactor}"]
        self.arguments = [*before, twistd, "-n", "--pidfile=", *chosen, "twisted-lb", "--config", "lb.toml", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with self.errors.open("wb") as errors, (folder / "stdout.txt").open("wb") as output:
            self.process = subprocess.Popen(
                self.arguments, cwd=folder, env=environment, stdout=output, stderr=errors, pass_fds=pass_fds
            )
        self.pid = self.process.pid

    def configure(self, config: Config) -> None:
        """Write the configuration file; see ``reload``."""
        defaults = {"access_log": {"use": "json", "path": str(self.log)}, **config.get("defaults", {})}
        process = {"graceful_stop": "2s", **config.get("process", {})}
        whole = {**config, "defaults": defaults, "process": process}
        (self.folder / "lb.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in whole.items()))

    def stderr(self) -> str:
        """All that it has written to its standard error so far."""
        return self.errors.read_text("utf-8", "replace")

    def wait_for_stderr(self, text: str, times: int = 1) -> None:
        """Wait until ``text`` was written to its standard error ``times`` times."""
        wait_until(lambda: self.stderr().count(text) >= times or self.process.poll() is not None, f"{text!r} on stderr")
        assert self.stderr().count(text) >= times, f"it exited with {self.process.poll()}: {self.stderr()}"

    def wait_until_serving(self) -> "Proxy":
        """Wait until every listener is open."""
        self.wait_for_stderr("serving on")
        return self

    def reload(self, config: Config) -> None:
        """Put another configuration in force, and wait until it is."""
        before = self.stderr().count("reloaded; serving on")
        self.configure(config)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_stderr("reloaded; serving on", before + 1)

    def records(self, count: int, timeout_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """Wait until at least ``count`` connections have ended; return the records of all that have."""
        lines: list[bytes] = []

        def written() -> bool:
            lines[:] = self.log.read_bytes().split(b"\n")[:-1] if self.log.exists() else []
            return len(lines) >= count

        wait_until(written, f"{count} records", timeout_s)
        return [json.loads(line) for line in lines]

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sockets(self) -> int:
        """How many of them are sockets."""
        count = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(link).startswith("socket:")
        return count

    def resident_kib(self) -> int:
        """Its resident memory in KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1])

    def cpu_s(self) -> float:
        """User and system time that it has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def turns(self) -> int | None:
        """How often it has gone to sleep or was made to wait: the same twice when it rested in between.

        ``None`` while it is awake.
        """
        status = Path(f"/proc/{self.pid}/status").read_text()
        counts = re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)
        return sum(map(int, counts)) if re.search(r"State:\s+S", status) else None

    def stop(self) -> None:
        """Stop it gracefully, and check that it ends well and had nothing to complain about. Once is enough."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                pytest.fail(f"it did not end after SIGTERM: {self.stderr()}")
        assert self.process.returncode == 0, self.stderr()
        if not self.may_complain:
            assert not DEFECTS.search(self.stderr()), self.stderr()

    def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)


class _Started:
    """The proxies that a fixture has started."""

    def __init__(self, folders: Callable[[], Path]) -> None:
        self._folders = folders
        self._proxies: list[Proxy] = []

    def start(self, config: Config, *arguments: str, **options: Any) -> Proxy:
        proxy = Proxy(self._folders(), config, arguments, **options)
        self._proxies.append(proxy)
        return proxy.wait_until_serving()

    def stop(self) -> None:
        try:
            for proxy in self._proxies:
                proxy.stop()
        finally:
            for proxy in self._proxies:
                proxy.kill()


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProxy]:
    """Start a proxy for this test: ``proxy(config, *arguments, reactor=..., before=..., pass_fds=...)``.

    Returns a ``Proxy`` that serves already; see there. It is stopped, and its complaints are looked at, at the end.
    """
    started = _Started(lambda: tmp_path_factory.mktemp("proxy"))
    yield started.start
    started.stop()


@pytest.fixture(scope="module")
def module_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProxy]:
    """As ``proxy``, but it lives until the end of the module."""
    started = _Started(lambda: tmp_path_factory.mktemp("proxy"))
    yield started.start
    started.stop()


@pytest.fixture(scope="session")
def free_port() -> FreePort:
    """Give a TCP port of 127.0.0.1 that nobody listens on, a different one at each call."""
    given: set[int] = set()
    share = len(PORTS) // WORKERS
    ours = PORTS[WORKER * share : (WORKER + 1) * share]

    def choose() -> int:
        for port in random.sample(ours, 200):
            if port in given:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            given.add(port)
            return port
        raise AssertionError("no free port found")

    return choose


@pytest.fixture(scope="session")
def tcp_config() -> Callable[..., dict[str, Any]]:
    """Make the smallest configuration: ``tcp_config(bind, *servers, timeouts=..., **more of the frontend)``."""

    def make(bind: Any, *servers: Any, timeouts: Config | None = None, **frontend: Any) -> dict[str, Any]:
        named = {f"s{number}": server for number, server in enumerate(servers, 1)}
        config: dict[str, Any] = {
            "frontends": {"web": {"bind": bind, "backend": "app", **frontend}},
            "backends": {"app": {"servers": named}},
        }
        return config if timeouts is None else {**config, "defaults": {"timeouts": timeouts}}

    return make


@pytest.fixture(scope="session")
def wait() -> Wait:
    """Wait for something with a deadline: ``wait(probe, what)``, see ``wait_until``."""
    return wait_until
