"""Redis behind the validator ``redis`` and the guard of its commands, with its own client."""

import socket
import subprocess
from random import Random

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort, dial
from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("redis-server", "redis-cli")]

DENIED = ["FLUSHALL", "CONFIG SET", "EVAL"]


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    folder, port = daemons.folder(), free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]
    daemons.start("redis", "redis-server", *options, "--dir", folder, folder=folder, ports=[port])
    guard = {"use": "redis_commands", "deny": DENIED}
    return FrontDoors(module_proxy, free_port, {"all": Door(["redis"], port), "guarded": Door(["redis", guard], port)})


def ask(port: int, *words: str, said: str | None = None) -> str:
    """What Redis' own client shows; ``said``: on its standard input."""
    command = ["redis-cli", "-h", "127.0.0.1", "-p", str(port), *words]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=30, check=False, env={"PATH": SYSTEM_PATH}
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["all", "guarded"])
def test_a_client_is_served(name: str, doors: FrontDoors) -> None:
    port = doors.ports[name]
    assert ask(port, "SET", f"key:{name}", "FLUSHALL " * 10000) == "OK\n"
    assert ask(port, "STRLEN", f"key:{name}") == "90000\n"
    assert "maxmemory" in ask(port, "CONFIG", "GET", "maxmemory")
    assert ask(port, said="MULTI\nINCR counted\nEXEC\n").startswith("OK\nQUEUED\n")
    assert "RESP" not in ask(port, "-3", "PING")


def test_a_mass_of_commands_in_one_pipeline_is_served(doors: FrontDoors) -> None:
    lines = "".join(f"SET many:{number} {'x' * (number % 50 + 1)}\r\n" for number in range(20000))
    assert "errors: 0, replies: 20000" in ask(doors.ports["guarded"], "--pipe", said=lines)


def test_a_large_value_goes_through_the_guard_unchanged(doors: FrontDoors) -> None:
    value = Random(1).randbytes(1 << 20) * 24 + b"*1\r\n$8\r\nFLUSHALL\r\n"
    with dial(doors.ports["guarded"]) as client:
        client.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % len(value) + value + b"\r\n")
        assert client.recv(100) == b"+OK\r\n"
        client.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n")
        expected = b"$%d\r\n" % len(value) + value + b"\r\n"
        heard = bytearray()
        while len(heard) < len(expected):
            data = client.recv(1 << 20)
            assert data, "it has ended"
            heard += data
    assert heard == expected


@pytest.mark.parametrize(
    "words", [("FLUSHALL",), ("flushall", "ASYNC"), ("CONFIG", "SET", "dir", "/tmp"), ("EVAL", "return 1", "0")]
)
def test_a_denied_command_does_not_reach_the_server(words: tuple[str, ...], doors: FrontDoors) -> None:
    ask(doors.ports["all"], "SET", "kept", "yes")
    assert ask(doors.ports["guarded"], *words).startswith(("NOPERM", "(error) NOPERM"))
    assert ask(doors.ports["all"], "GET", "kept") == "yes\n"


def test_a_denied_command_deep_in_a_pipeline_is_refused(doors: FrontDoors) -> None:
    ask(doors.ports["all"], "SET", "kept", "yes")
    with dial(doors.ports["guarded"]) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
        said = b"*2\r\n$4\r\nECHO\r\n$18\r\n*1\r\n$8\r\nFLUSHALL\r\n\r\n" * 500 + b"*1\r\n$8\r\nFLUSHALL\r\n"
        client.sendall(said[:15000])
        client.sendall(said[15000:])
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while data := client.recv(65536):
            heard += data
    assert heard.rpartition(b"-NOPERM")[2].startswith(b" this connection may not run the 'flushall' command")
    assert ask(doors.ports["all"], "GET", "kept") == "yes\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "redis-http"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "redis-name"),
        (b"*1\r\nFLUSHALL\r\n", "redis-word"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("all", said)
    assert told == f"validator redis: {reason}"
    assert heard == f"-ERR Protocol error: {reason}\r\n".encode()


def test_what_a_rude_client_hides_behind_a_first_command_is_refused(doors: FrontDoors) -> None:
    heard, told = doors.refused("guarded", b"*1\r\n$8\r\nFLUSHALL\r\n", first=b"")
    assert told == "validator redis_commands: redis-command-denied FLUSHALL"
    assert heard.startswith(b"-NOPERM ")
