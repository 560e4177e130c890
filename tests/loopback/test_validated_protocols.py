"""Databases and brokers on one port: told apart, routed, and judged by what their clients say."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.loopback.servers import ANSWER_S, Server

POSTGRESQL = b"\0\0\0\x22\0\x03\0\0user\0alice\0database\0shop\0\0"
MQTT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03dev"
RDP = b"\x03\0\0\x23\x1e\xe0\0\0\0\0\0Cookie: mstshash=alice\r\n"
REDIS = b"*1\r\n$4\r\nPING\r\n"
ANSWERS = {
    "postgresql": b"R\0\0\0\x08\0\0\0\0",
    "mqtt": b"\x20\x02\0\0",
    "rdp": b"\x03\0\0\x0b\x06\xd0\0\0\0\0\0",
    "redis": b"+PONG\r\n",
}
GREETINGS = {"postgresql": POSTGRESQL, "mqtt": MQTT, "rdp": RDP, "redis": REDIS}
POLICIES = [
    {"deny": "postgresql.user == 'mallory' or mqtt.client_id == 'evil' or redis.command in ['SYNC', 'PSYNC']"},
    {"deny": "rdp.cookie == 'mallory' and 'tls' not in rdp.protocols"},
]


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        if client.recv(65536):
            client.sendall(answer)
            while client.recv(65536):
                pass

    return serve


class Door(NamedTuple):
    """A frontend that serves all four."""

    port: int
    proxy: Any

    def heard(self, said: bytes, pieces: int = 1) -> tuple[bytes, int]:
        """What comes when a client says that, in so many pieces; and the client's port."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = -(-len(said) // pieces)
            answer = b""
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(said), size):
                    client.sendall(said[at : at + size])
                answer = client.recv(4096)
            return answer, client.getsockname()[1]

    def reason(self, client_port: int) -> str:
        """Why the connection from that port was ended."""
        count = 1
        while True:
            records = self.proxy.records(count)
            for record in records:
                if record["source_port"] == client_port:
                    return str(record["reason"])
            count = len(records) + 1


@pytest.fixture(scope="module")
def door(module_proxy: Any, free_port: Any) -> Iterator[Door]:
    with contextlib.ExitStack() as stack:
        servers = {name: Server(answering(answer)) for name, answer in ANSWERS.items()}
        for server in servers.values():
            stack.callback(server.close)
        chosen: int = free_port()
        frontend = {
            "bind": f"127.0.0.1:{chosen}",
            "validators": [{"any_of": [*ANSWERS]}],
            "policies": POLICIES,
            "routes": [{"facts": {"protocol": name}, "backend": name} for name in ANSWERS if name != "redis"],
            "backend": "redis",
        }
        backends = {name: {"servers": {"a": f"127.0.0.1:{server.port}"}} for name, server in servers.items()}
        yield Door(chosen, module_proxy({"frontends": {"all": frontend}, "backends": backends}))


@pytest.mark.parametrize("pieces", [1, 3, 100])
@pytest.mark.parametrize("name", ANSWERS)
def test_each_client_reaches_the_server_that_speaks_its_protocol(name: str, pieces: int, door: Door) -> None:
    assert door.heard(GREETINGS[name], pieces)[0] == ANSWERS[name]


@pytest.mark.parametrize("pieces", [1, 100])
@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (1, POSTGRESQL.replace(b"\x22", b"\x24").replace(b"alice", b"mallory")),
        (1, MQTT.replace(b"\x0f", b"\x10").replace(b"\x03dev", b"\x04evil")),
        (1, REDIS.replace(b"PING", b"SYNC")),
        (2, RDP.replace(b"\x23\x1e", b"\x25\x20").replace(b"alice", b"mallory")),
    ],
)
def test_rules_refuse_by_what_has_been_learnt(policy: int, said: bytes, pieces: int, door: Door) -> None:
    answer, client_port = door.heard(said, pieces)
    assert (answer, door.reason(client_port)) == (b"", f"policy {policy}: deny")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\xff" * 9])
def test_who_speaks_none_of_them_is_refused(said: bytes, door: Door) -> None:
    answer, client_port = door.heard(said)
    assert answer in (b"", b"-ERR Protocol error: redis-http\r\n", b"-ERR Protocol error: redis-name\r\n")
    assert door.reason(client_port).count("validator ") == len(ANSWERS)
