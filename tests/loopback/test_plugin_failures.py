"""A plugin that misbehaves ends its connection with the right code and is named; the next connection works."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import Echo, ask, connect, echo, hear

PLUGIN = "lb_misbehaving"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as made:
        yield made


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "balancer raises": ({}, {"balance": {"use": "misbehaving"}}, "IC", "balance"),
    "balancer nonsense": ({}, {"balance": {"use": "misbehaving", "how": "nonsense"}}, "IC", "balance"),
    "policy raises": ({"policies": [{"use": "misbehaving"}]}, {}, "IR", "policy"),
    "policy nonsense": ({"policies": [{"use": "misbehaving", "how": "nonsense"}]}, {}, "IR", "policy"),
    "coroutine raises": ({"policies": [{"use": "misbehaving_later"}]}, {}, "IR", "policy"),
    "coroutine nonsense": ({"policies": [{"use": "misbehaving_later", "how": "nonsense"}]}, {}, "IR", "policy"),
    "validator raises": ({"validators": [{"use": "misbehaving"}]}, {}, "IR", "validation"),
    "validator nonsense": ({"validators": [{"use": "misbehaving", "how": "nonsense"}]}, {}, "IR", "validation"),
}
HARMLESS: dict[str, dict[str, Any]] = {
    "observer raises": {"observers": [{"use": "misbehaving"}]},
    "log raises": {"access_log": {"use": "misbehaving"}},
    "log nonsense": {"access_log": {"use": "misbehaving", "how": "nonsense"}},
}
ANSWERS_LATE = {"never": "never", "later": "later"}


def spelt(name: str) -> str:
    """The name of the frontend."""
    return name.replace(" ", "_")


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    return {name: free_port() for name in (*CASES, *HARMLESS, *ANSWERS_LATE)}


Settings = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def config_of(server: Echo, ports: dict[str, int], settings: Settings) -> dict[str, Any]:
    """Make a frontend and a backend of each name with the settings given for it."""
    config: dict[str, Any] = {"plugins": [PLUGIN], "frontends": {}, "backends": {}}
    for name, (frontend, backend) in settings.items():
        config["frontends"][spelt(name)] = {"bind": f"127.0.0.1:{ports[name]}", "backend": spelt(name), **frontend}
        config["backends"][spelt(name)] = {"servers": {"s1": f"127.0.0.1:{server.port}"}, **backend}
    return config


@pytest.fixture(scope="module")
def running(module_proxy: Any, server: Echo, ports: dict[str, int]) -> Any:
    """Only the first ten failures of a plugin are logged one by one, hence two proxies; this is for ``CASES``."""
    settings: Settings = {name: case[:2] for name, case in CASES.items()}
    return module_proxy(config_of(server, ports, settings), before=["env", f"PYTHONPATH={HERE}"])


@pytest.fixture(scope="module")
def other(module_proxy: Any, server: Echo, ports: dict[str, int]) -> Any:
    """The proxy for what is not in ``CASES``."""
    settings: Settings = {name: (frontend, {}) for name, frontend in HARMLESS.items()}
    for name, how in ANSWERS_LATE.items():
        frontend = {"policies": [{"use": "misbehaving", "how": how}], "timeouts": {"policy": "100ms"}}
        settings[name] = frontend, {}
    return module_proxy(config_of(server, ports, settings), before=["env", f"PYTHONPATH={HERE}"])


def records_of(running: Any, wait: Any, name: str, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        return [record for record in running.records(1) if record["frontend"] == spelt(name)]

    wait(lambda: len(found()) >= count, f"{count} records of {name}")
    return found()


@pytest.mark.parametrize("name", CASES)
def test_its_connection_ends_and_the_next_one_works(
    running: Any, wait: Any, server: Echo, ports: dict[str, int], name: str
) -> None:
    accepted = server.accepted
    assert ask(ports[name]) == b""
    assert server.accepted == accepted, "it went upstream all the same"
    assert ask(ports[name]) == b"ping"
    first, second = records_of(running, wait, name, 2)
    _, _, code, stage = CASES[name]
    assert (first["ending"], first["stage"], first["plugin"]) == (code, stage, PLUGIN)
    assert (second["ending"], second["plugin"]) == ("--", "")
    running.wait_for_stderr(f"frontend {spelt(name)}: plugin {PLUGIN} failed")


@pytest.mark.parametrize("name", HARMLESS)
def test_who_only_watches_harms_no_connection(other: Any, ports: dict[str, int], name: str) -> None:
    assert ask(ports[name]) == b"ping"
    other.wait_for_stderr(f"frontend {spelt(name)}: plugin {PLUGIN} failed")
    assert ask(ports[name]) == b"ping"


@pytest.mark.parametrize("name", ANSWERS_LATE)
def test_a_policy_that_is_late_denies_whatever_it_says_then(
    other: Any, wait: Any, server: Echo, ports: dict[str, int], name: str
) -> None:
    accepted = server.accepted
    begun = time.monotonic()
    with connect(ports[name]) as client:
        client.sendall(b"ping")
        assert hear(client) == b""
    assert 0.09 <= time.monotonic() - begun <= 2.0
    (record,) = records_of(other, wait, name, 1)
    assert (record["ending"], record["stage"], record["plugin"]) == ("IR", "policy", PLUGIN)
    assert "timeouts.policy" in record["reason"]
    assert server.accepted == accepted


def test_a_client_that_leaves_before_a_late_answer_is_not_the_plugins_fault(
    other: Any, wait: Any, ports: dict[str, int]
) -> None:
    before = len([record for record in other.records(1) if record["frontend"] == "later"])
    with connect(ports["later"]) as client:
        client.shutdown(socket.SHUT_WR)
        hear(client)
    record = records_of(other, wait, "later", before + 1)[-1]
    assert (record["ending"], record["plugin"]) == ("CR", "")


def test_failures_are_counted_for_each_plugin(running: Any, ports: dict[str, int]) -> None:
    for name in CASES:
        ask(ports[name])
    failed = [line for line in running.stderr().splitlines() if f"plugin {PLUGIN} failed" in line]
    assert f"({len(failed)} so far)" in failed[-1]
