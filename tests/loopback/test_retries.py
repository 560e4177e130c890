"""Servers that cannot be reached, seen from outside."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.servers import Echo, Silent, ask, connect, echo, hear


@pytest.fixture(scope="module")
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Echo]:
    with echo(b"hello ") as made:
        yield made


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    names = "refused silent elsewhere twice leaves queued nobody"
    return {name: free_port() for name in names.split()}


@pytest.fixture(scope="module")
def running(module_proxy: Any, free_port: Any, silent: Silent, upstream: Echo, ports: dict[str, int]) -> Any:
    dead, good, quiet = (f"127.0.0.1:{port}" for port in (free_port(), upstream.port, silent.port))
    short, long = {"connect": "0.2s"}, {"connect": "60s"}
    backends: dict[str, Any] = {
        "refused": {"servers": {"a": dead}, "retries": 1, "timeouts": short},
        "silent": {"servers": {"a": quiet}, "retries": 1, "timeouts": short},
        "elsewhere": {"servers": {"a": dead, "b": good}, "balance": "first", "retries": 1, "timeouts": long},
        "twice": {"servers": {"a": dead}, "retries": 2, "timeouts": short},
        "leaves": {"servers": {"a": {"address": quiet, "maxconn": 1}}, "timeouts": long},
        "queued": {"servers": {"a": {"address": good, "maxconn": 1}}, "timeouts": {**long, "queue": "60s"}},
        "nobody": {"servers": {"a": {"address": good, "weight": 0}}},
    }
    frontends = {name: {"bind": f"127.0.0.1:{port}", "backend": name} for name, port in ports.items()}
    return module_proxy({"frontends": frontends, "backends": backends})


@pytest.fixture
def record(running: Any, wait: Any) -> Any:
    """The first record of the frontend of that name."""

    def find(name: str, code: str = "") -> Any:
        def found() -> list[Any]:
            ours = [one for one in running.records(1) if one["frontend"] == name]
            return [one for one in ours if not code or one["ending"] == code]

        return wait(found, f"a record of {name}")[0]

    return find


@pytest.mark.parametrize(
    ("name", "code", "retries", "at_least_s"),
    [("refused", "SC", 1, 0.2), ("twice", "SC", 2, 0.4), ("silent", "sC", 1, 0.6), ("nobody", "SC", 0, 0.0)],
)
def test_a_server_that_cannot_be_reached_ends_the_connection_after_all_retries(
    running: Any, ports: dict[str, int], record: Any, name: str, code: str, retries: int, at_least_s: float
) -> None:
    begun = time.monotonic()
    with connect(ports[name]) as client:
        assert hear(client) == b""
    assert time.monotonic() - begun >= at_least_s - 0.01
    ended = record(name)
    assert (ended["ending"], ended["retries"], ended["redispatched"]) == (code, retries, False)
    if name != "nobody":
        assert ended["reason"].startswith("server a: ")
        assert ended["connect_ms"] >= at_least_s * 1000 - 10


def test_another_server_is_tried_at_once(running: Any, ports: dict[str, int], record: Any) -> None:
    begun = time.monotonic()
    assert ask(ports["elsewhere"]) == b"hello ping"
    assert time.monotonic() - begun < 1.0, "it waited before it tried the other server"
    ended = record("elsewhere")
    assert (ended["ending"], ended["server"], ended["retries"], ended["redispatched"]) == ("--", "b", 1, True)


def test_a_client_that_leaves_while_we_connect_gives_its_slot_back(
    running: Any, ports: dict[str, int], record: Any, wait: Any
) -> None:
    first = connect(ports["leaves"])
    second = connect(ports["leaves"])
    first.close()
    assert record("leaves")["ending"] == "CC"
    second.close()  # it has the slot now, so it is being connected too, and not in the queue

    def endings() -> list[str]:
        return [one["ending"] for one in running.records(2) if one["frontend"] == "leaves"]

    wait(lambda: len(endings()) == 2, "both records")
    assert endings() == ["CC", "CC"]


def test_a_client_that_leaves_the_queue_is_forgotten(
    running: Any, upstream: Echo, ports: dict[str, int], record: Any
) -> None:
    with connect(ports["queued"]) as first:
        assert first.recv(6) == b"hello "
        connect(ports["queued"]).close()
        assert record("queued")["ending"] == "CQ"
        third = connect(ports["queued"])
    assert third.recv(6) == b"hello ", "the slot was not handed on"
    third.close()


def test_a_server_that_goes_away_and_comes_back(proxy: Any, tcp_config: Any, free_port: Any) -> None:
    port, backend = free_port(), free_port()
    running = proxy({**tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{backend}"), "defaults": {"retries": 0}})
    with echo(b"one ", ("127.0.0.1", backend)):
        assert ask(port) == b"one ping"
    assert ask(port) == b""
    with echo(b"two ", ("127.0.0.1", backend)):
        assert ask(port) == b"two ping"
    assert [record["ending"] for record in running.records(3)] == ["--", "SC", "--"]


@pytest.mark.parametrize("reactor", [None, "select", "asyncio"])
def test_a_retry_that_fails_at_once_is_noticed_with_every_reactor(
    proxy: Any, tcp_config: Any, free_port: Any, reactor: str | None
) -> None:
    # A Unix path that is not there fails within the call, and the retry is made from a timer, not from an event.
    port = free_port()
    config = tcp_config(f"127.0.0.1:{port}", "unix:/no/such/path", timeouts={"connect": "0.1s"})
    running = proxy({**config, "defaults": {"retries": 2, **config["defaults"]}}, reactor=reactor)
    with connect(port) as client:
        client.settimeout(3.0)
        assert hear(client) == b""
        (record,) = running.records(1)
    assert (record["ending"], record["retries"]) == ("SC", 2)
