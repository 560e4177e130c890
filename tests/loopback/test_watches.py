"""Validators that stay on the stream, several protocols on one port, and refusals, over every kind of transport."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import Echo, connect, echo

HERE = Path(__file__).parent
KINDS = pytest.mark.parametrize("kind", ["stream", "endpoint"])
GREETING = b"welcome"
EVIL = b"evil"
PAYLOAD = bytes(range(256)) * 8192

VALIDATORS: dict[str, Any] = {
    "plain": [{"use": "watcher"}],
    "spoken": [{"use": "watcher", "begins": "HELLO", "farewell": "554 no\r\n"}],
    "several": [
        {"any_of": [{"use": "watcher", "begins": "HELLO"}, {"use": "other", "server_first": True, "begins": "x"}]}
    ],
}
POLICIES: dict[str, Any] = {
    "farewell": {"how": "close", "farewell": "bye"},
    "closed": {"how": "close"},
    "reset": {"how": "reset"},
    "tarpit": {"how": "tarpit"},
    "early": {"how": "close", "farewell": "bye", "stage": "admission"},
    "early_tarpit": {"how": "tarpit", "stage": "admission"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo(GREETING) as made:
        yield made


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    return {f"{name}_{kind}": free_port() for name in (*VALIDATORS, *POLICIES) for kind in ("stream", "endpoint")}


@pytest.fixture(scope="module")
def running(module_proxy: Any, server: Echo, ports: dict[str, int]) -> Any:
    config: dict[str, Any] = {"plugins": ["lb_watcher"], "frontends": {}, "backends": {}}
    for name, port in ports.items():
        base, _, kind = name.rpartition("_")
        endpoint = kind == "endpoint"
        frontend: dict[str, Any] = {
            "bind": f"tcp:{port}:interface=127.0.0.1" if endpoint else f"127.0.0.1:{port}",
            "backend": kind,
            "timeouts": {"inspect": "200ms", "tarpit": "300ms"},
        }
        if base in VALIDATORS:
            frontend["validators"] = VALIDATORS[base]
        else:
            frontend["policies"] = [{"use": "refuser", **POLICIES[base]}]
        config["frontends"][name] = frontend
        address = f"tcp:127.0.0.1:{server.port}" if endpoint else f"127.0.0.1:{server.port}"
        config["backends"][kind] = {"servers": {"s1": address}}
    return module_proxy(config, before=["env", f"PYTHONPATH={HERE}"])


def hear_all(client: socket.socket) -> bytes:
    """All that comes until the end, whichever kind of end that is."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece, f"the end after {data!r}"
        data += piece
    return data


def record_of(running: Any, wait: Any, frontend: str, count: int) -> dict[str, Any]:
    """The last of the records of a frontend, when there are so many."""

    def found() -> list[dict[str, Any]]:
        of_it = [one for one in running.records(0) if one["frontend"] == frontend]
        return of_it if len(of_it) >= count else []

    last: dict[str, Any] = wait(found, f"{count} records of {frontend}")[-1]
    return last


@KINDS
def test_all_passes_that_is_not_denied(running: Any, ports: dict[str, int], kind: str) -> None:
    with connect(ports[f"plain_{kind}"]) as client:
        client.sendall(b"hello")
        assert exactly(client, len(GREETING) + 5) == GREETING + b"hello"
        sent = 0
        while sent < len(PAYLOAD):
            piece = PAYLOAD[sent : sent + 50_000]
            client.sendall(piece)
            assert exactly(client, len(piece)) == piece
            sent += len(piece)
        client.shutdown(socket.SHUT_WR)
        assert hear_all(client) == b""


@KINDS
@pytest.mark.parametrize("pieces", [[b"an evil word"], [b"an ev", b"il word"], [b"e", b"v", b"i", b"l"]])
def test_what_is_denied_ends_it_however_it_was_cut(
    running: Any, ports: dict[str, int], wait: Any, kind: str, pieces: list[bytes]
) -> None:
    name = f"plain_{kind}"
    before = len([one for one in running.records(0) if one["frontend"] == name])
    with connect(ports[name]) as client:
        client.sendall(b"hello")
        exactly(client, len(GREETING) + 5)
        for piece in pieces[:-1]:
            client.sendall(piece)
            assert exactly(client, len(piece)) == piece
        client.sendall(pieces[-1])
        assert hear_all(client) == b""
    record = record_of(running, wait, name, before + 1)
    assert (record["ending"], record["stage"], record["reason"]) == ("PD", "relay", "validator watcher: evil")


@KINDS
def test_a_farewell_is_heard_before_and_during_the_relay(
    running: Any, ports: dict[str, int], wait: Any, kind: str
) -> None:
    name = f"spoken_{kind}"
    with connect(ports[name]) as client:
        client.sendall(b"BONJOUR")
        assert hear_all(client) == b"554 no\r\n"
    with connect(ports[name]) as client:
        client.sendall(b"HELLO")
        assert exactly(client, len(GREETING) + 5) == GREETING + b"HELLO"
        client.sendall(EVIL + bytes(100_000))
        assert hear_all(client) == b"554 no\r\n"
    assert record_of(running, wait, name, 2)["ending"] == "PD"


@KINDS
def test_several_protocols_share_a_port(running: Any, ports: dict[str, int], wait: Any, kind: str) -> None:
    name = f"several_{kind}"
    with connect(ports[name]) as client:
        for byte in b"HELLO":
            client.sendall(bytes([byte]))
        assert exactly(client, len(GREETING) + 5) == GREETING + b"HELLO"
    with connect(ports[name]) as client:
        assert exactly(client, len(GREETING)) == GREETING, "the server speaks to who says nothing"
    record_of(running, wait, name, 2)
    with connect(ports[name]) as client:
        client.sendall(b"?")
        assert hear_all(client) == b""
    record = record_of(running, wait, name, 3)
    reason = "validator watcher: begins otherwise; validator other: begins otherwise"
    assert (record["ending"], record["reason"]) == ("PR", reason)


@KINDS
@pytest.mark.parametrize("name", ["farewell", "early"])
def test_a_policy_s_farewell_is_not_overtaken_by_a_reset(
    running: Any, ports: dict[str, int], kind: str, name: str
) -> None:
    for _ in range(5):
        with connect(ports[f"{name}_{kind}"]) as client:
            with contextlib.suppress(OSError):
                client.sendall(bytes(200_000))  # nobody reads that
            assert hear_all(client) == b"bye"


@KINDS
def test_closed_is_a_fin_and_reset_is_a_reset(running: Any, ports: dict[str, int], kind: str) -> None:
    with connect(ports[f"closed_{kind}"]) as client:
        assert client.recv(1) == b""
    with pytest.raises(ConnectionResetError), connect(ports[f"reset_{kind}"]) as client:
        client.recv(1)


@KINDS
@pytest.mark.parametrize("name", ["tarpit", "early_tarpit"])
def test_the_tarpit_holds_and_then_closes(running: Any, ports: dict[str, int], wait: Any, kind: str, name: str) -> None:
    with connect(ports[f"{name}_{kind}"]) as client:
        began = time.monotonic()
        assert hear_all(client) == b""
        assert time.monotonic() - began > 0.25
    record = record_of(running, wait, f"{name}_{kind}", 1)
    assert (record["ending"], record["stage"], record["reason"]) == ("PT", "tarpit", "policy 1: closed")


@KINDS
def test_who_leaves_the_tarpit_is_noticed(running: Any, ports: dict[str, int], wait: Any, kind: str) -> None:
    name = f"tarpit_{kind}"
    before = len([one for one in running.records(0) if one["frontend"] == name])
    connect(ports[name]).close()
    assert record_of(running, wait, name, before + 1)["ending"] == "CT"
