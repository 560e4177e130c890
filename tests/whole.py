"""A whole load balancer within the test's process: real sockets, and a clock that only the test moves.

Imported by tests, runs no test itself.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from twisted_lb.backends.health import Check
from twisted_lb.config.load import load_dict
from twisted_lb.endings import Stage
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

    def check_timers(self) -> int:
        """How many timers of health checks are running."""
        calls: Any = self.clock.getDelayedCalls()
        return sum(isinstance(getattr(call.func, "__self__", None), Check) for call in calls)

    def close(self) -> None:
        for made in self._sockets:
            made.close()
        stopped = self.balancer.stopService()
        self.balancer.stop_now()
        self.turn()
        assert stopped is None or stopped.called
        assert len(self.poller) == 0, "a descriptor is still watched"
        assert len(self.process.wheel) == 0
        assert self.check_timers() == 0
        assert self.process.limit.count == 0
        self.poller.epoll.close()


def config(bind: Any, *servers: Any, **more: Any) -> Config:
    named = {f"s{number}": server for number, server in enumerate(servers, 1)}
    backend = {"servers": named, **more.pop("of_backend", {})}
    frontend = {"bind": bind, "backend": "app", **more.pop("of_frontend", {})}
    return {"frontends": {"web": frontend}, "backends": {"app": backend}, **more}


def end(running: Running, client: socket.socket, served: socket.socket) -> None:
    sessions = set(running.process.sessions)
    client.close()
    served.close()
    running.until(lambda: not sessions <= running.process.sessions, "the end of the session")


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Yield one that is not started yet; nothing of it may be left afterwards."""
    made = Running(folder, monkeypatch)
    yield made
    made.close()
