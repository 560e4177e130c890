"""What the tests under load share: content in which any fault shows, a proxy of several kinds, and what it left behind.

Imported by tests, runs no test itself.
"""

import hashlib
import json
import os
import random
import resource
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20
NOISE = random.Random(2).randbytes(8 * MIB)
"""What is sent, from anywhere within it: no stretch of it looks like another one."""

KINDS = ("streams", "endpoints", "stream to endpoint", "endpoint to stream")
"""The transports on the client's and on the server's side: streams of ours, or Twisted's endpoints."""


def stretch(start: int, size: int) -> memoryview:
    """Return ``size`` bytes of the noise from ``start`` on."""
    assert start + size <= len(NOISE)
    return memoryview(NOISE)[start : start + size]


def digest(data: bytes | memoryview) -> str:
    """Spell the hash by which what was sent and what has arrived are compared."""
    return hashlib.sha256(data).hexdigest()


def reset_on_close(sock: socket.socket) -> None:
    """Let the kernel send a RST when ``sock`` is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def listen(port: int) -> socket.socket:
    """Listen on ``port`` of 127.0.0.1."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def config_of(frontends: Mapping[str, int], server_port: int, **more_of_a_frontend: Any) -> dict[str, Any]:
    """Make the configuration with a frontend for each kind at the port given for it, all with the same server."""
    backends = {"stream": f"127.0.0.1:{server_port}", "endpoint": f"tcp:127.0.0.1:{server_port}"}
    config: dict[str, Any] = {
        "frontends": {},
        "backends": {name: {"servers": {"s1": address}} for name, address in backends.items()},
    }
    for kind, port in frontends.items():
        towards_client, towards_server = kind.removesuffix("s"), kind.removesuffix("s")
        if " to " in kind:
            towards_client, towards_server = kind.split(" to ")
        bind = f"127.0.0.1:{port}" if towards_client == "stream" else f"tcp:{port}:interface=127.0.0.1"
        name = kind.replace(" ", "-")
        config["frontends"][name] = {"bind": bind, "backend": towards_server, **more_of_a_frontend}
    return config


def need_descriptors(count: int) -> None:
    """Raise this process's limit to ``count`` descriptors; skip the test where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"needs {count} descriptors, and at most {hard} are allowed (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Inventory:
    """What a proxy that runs ``lb_witness`` says that it has, whenever it is asked."""

    def __init__(self, folder: Path, wait: Callable[..., Any]) -> None:
        self._path = folder / "inventory.json"
        self._wait = wait

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return ``config`` with the witness added to every frontend."""
        use = {"use": "witness", "path": str(self._path)}
        frontends = {name: {**frontend, "observers": [use]} for name, frontend in config["frontends"].items()}
        return {**config, "frontends": frontends, "plugins": ["lb_witness"]}

    environment = ("env", f"PYTHONPATH={Path(__file__).parent}")
    """To be put in front of the proxy's command."""

    def take(self, pid: int) -> dict[str, Any]:
        """Ask the process ``pid`` what it has now."""
        self._path.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        text: str = self._wait(lambda: self._path.exists() and self._path.read_text(), "the inventory")
        found: dict[str, Any] = json.loads(text)
        return found


def median(values: Iterable[float]) -> float:
    """Return the middle one of ``values``."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
