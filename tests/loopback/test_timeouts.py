"""Each timer seen from outside: the connection ends in time, with its own code in the access log."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import Echo, Server, Silent, connect, hear

SPAN_S = 0.3
LATE_S = 2.0
"""How late an ending may be on a busy machine."""


@pytest.fixture(scope="module")
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.close()


def say_goodbye(client: socket.socket) -> None:
    """Say that this was all, and listen on."""
    client.shutdown(socket.SHUT_WR)
    client.recv(1)


def keep_quiet(client: socket.socket) -> None:
    """Say hello, and then neither answer nor leave, whatever the client does."""
    client.sendall(b"hello")
    while client.recv(65536):
        pass
    threading.Event().wait(60)


def talk_on(client: socket.socket) -> None:
    """Send without an end, whether anybody reads it or not."""
    while True:
        client.sendall(b"x" * 65536)


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    names = "client server tunnel client_fin server_fin connect queue inspect policy stalled"
    return {name: free_port() for name in names.split()}


@pytest.fixture(scope="module")
def running(module_proxy: Any, silent: Silent, ports: dict[str, int]) -> Any:
    """One frontend and one backend for each timer, named after it; everything else waits for ever."""
    echo = Echo()
    servers = {
        "connect": silent.port,
        "client_fin": Server(say_goodbye).port,
        "server_fin": Server(keep_quiet).port,
        "stalled": Server(talk_on).port,
    }
    of_frontend: dict[str, Any] = {
        "inspect": {"validators": [{"use": "payload", "starts_with_hex": "cafe"}]},
        "policy": {"policies": [{"use": "misbehaving", "how": "never"}]},
    }
    of_backend: dict[str, Any] = {
        "connect": {"retries": 0},
        "queue": {"servers": {"s1": {"address": f"127.0.0.1:{echo.port}", "maxconn": 1}}},
    }
    config: dict[str, Any] = {
        "plugins": ["lb_misbehaving"],
        "defaults": {"timeouts": dict.fromkeys(("client", "server", "connect", "inspect", "policy"), "off")},
        "frontends": {},
        "backends": {},
    }
    for name, port in ports.items():
        timers: dict[str, str] = {} if name == "stalled" else {name: f"{SPAN_S}s"}
        if name == "tunnel":
            timers |= {"client": "60s", "server": "60s"}
        if name == "stalled":
            timers = {"client": "1s", "server": "0.2s"}
        of_a_frontend = {key: value for key, value in timers.items() if key in FRONTEND_TIMERS}
        of_a_backend = {key: value for key, value in timers.items() if key not in FRONTEND_TIMERS}
        config["frontends"][name] = {
            "bind": f"127.0.0.1:{port}",
            "backend": name,
            "timeouts": of_a_frontend,
            **of_frontend.get(name, {}),
        }
        config["backends"][name] = {
            "servers": {"s1": f"127.0.0.1:{servers.get(name, echo.port)}"},
            "timeouts": of_a_backend,
            **of_backend.get(name, {}),
        }
    folder = Path(__file__).parent
    return module_proxy(config, before=["env", f"PYTHONPATH={folder}"])


FRONTEND_TIMERS = ("client", "client_fin", "inspect", "policy")


def ended(running: Any, wait: Any, name: str) -> dict[str, Any]:
    """The record of the connection through the frontend of that name."""

    def found() -> list[dict[str, Any]]:
        return [record for record in running.records(1) if record["frontend"] == name]

    records: list[dict[str, Any]] = wait(found, f"a record of {name}")
    return records[0]


@pytest.mark.parametrize(
    ("name", "code", "stage", "finishes"),
    [
        ("client", "cD", "relay", False),
        ("server", "sD", "relay", False),
        ("tunnel", "cD", "relay", False),
        ("client_fin", "cD", "relay", False),
        ("server_fin", "sD", "relay", True),
        ("connect", "sC", "connect", False),
        ("inspect", "cR", "validation", False),
        ("policy", "IR", "policy", False),
    ],
)
def test_a_connection_ends_with_its_timer(
    running: Any, wait: Any, ports: dict[str, int], name: str, code: str, stage: str, finishes: bool
) -> None:
    begun = time.monotonic()
    with connect(ports[name]) as client:
        if finishes:
            assert client.recv(5) == b"hello"  # who says that this is all before there is a server has left
            client.shutdown(socket.SHUT_WR)
        hear(client)
        record = ended(running, wait, name)
    lasted = time.monotonic() - begun
    assert (record["ending"], record["stage"]) == (code, stage)
    assert SPAN_S - 0.01 <= lasted <= SPAN_S + LATE_S
    assert SPAN_S * 1000 - 10 <= record["total_ms"] <= (SPAN_S + LATE_S) * 1000
    if name == "policy":
        assert record["plugin"] == "lb_misbehaving"
        running.wait_for_stderr("plugin lb_misbehaving failed")


def test_a_client_that_gets_no_slot_ends_with_the_queue_timer(running: Any, wait: Any, ports: dict[str, int]) -> None:
    with connect(ports["queue"]) as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        begun = time.monotonic()
        with connect(ports["queue"]) as second:
            assert hear(second) == b""
        assert SPAN_S - 0.01 <= time.monotonic() - begun <= SPAN_S + LATE_S
        record = ended(running, wait, "queue")
        assert (record["ending"], record["stage"], record["server"]) == ("sQ", "queue", "<NOSRV>")


def test_a_server_is_not_blamed_for_a_client_that_does_not_read(running: Any, wait: Any, ports: dict[str, int]) -> None:
    # The server's timer is 0.2 s, the client's 1 s. While the client reads nothing, only the second one may end it.
    with connect(ports["stalled"]):
        record = ended(running, wait, "stalled")
    assert (record["ending"], record["stage"]) == ("cD", "relay")
    assert record["total_ms"] >= 990
