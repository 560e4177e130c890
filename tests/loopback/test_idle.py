"""Thousands of connections that do nothing, and then all want something."""

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.loopback.traffic import config_of, listen, need_descriptors

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy, Wait

CONNECTIONS = 4000
TIMEOUT_S = 30
MOST_KIB_EACH = 3.0

Pair = tuple[socket.socket, socket.socket]


def connect(port: int, listener: socket.socket) -> Pair:
    """Open a client's connection, and accept it as the server."""
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    server = listener.accept()[0]
    server.settimeout(TIMEOUT_S)
    return client, server


def use(pairs: list[Pair]) -> None:
    """Have each client ask and get its answer; all have asked before the first one is answered."""
    for number, (client, _) in enumerate(pairs):
        client.sendall(b"request %06d" % number)
    # Which server's end belongs to which client does not matter: what is asked says who asks.
    for _, server in pairs:
        request = server.recv(100)
        assert request.startswith(b"request ")
        server.sendall(b"answer" + request[7:])
    for number, (client, _) in enumerate(pairs):
        assert client.recv(100) == b"answer %06d" % number


@pytest.mark.linux
def test_four_thousand_idle_connections_cost_little_and_are_all_there_when_used(
    proxy: "StartProxy", free_port: "FreePort", wait: "Wait"
) -> None:
    need_descriptors(2 * CONNECTIONS + 200)
    port, server_port = free_port(), free_port()
    running: Proxy = proxy(config_of({"streams": port}, server_port))
    with ExitStack() as stack:
        listener = stack.enter_context(listen(server_port))
        listener.settimeout(TIMEOUT_S)
        # What exists from the first connections on is not what an idle one costs.
        at_rest = running.sockets()
        first = [connect(port, listener) for _ in range(20)]
        use(first)
        for client, server in first:
            client.close()
            server.close()
        running.records(len(first))
        wait(lambda: running.sockets() == at_rest, "they are closed")
        descriptors, resident_kib = running.descriptors(), running.resident_kib()

        pairs = []
        for _ in range(CONNECTIONS):
            client, server = connect(port, listener)
            pairs.append((stack.enter_context(client), stack.enter_context(server)))
        assert running.descriptors() == descriptors + 2 * CONNECTIONS
        idle_kib = (running.resident_kib() - resident_kib) / CONNECTIONS
        use(pairs)
        used_kib = (running.resident_kib() - resident_kib) / CONNECTIONS
    print(f"resident memory for each connection: {idle_kib:.2f} KiB idle, {used_kib:.2f} KiB after one request")
    records = running.records(len(first) + CONNECTIONS)[len(first) :]
    assert {record["ending"] for record in records} == {"--"}
    assert len(records) == CONNECTIONS
    wait(lambda: running.descriptors() == descriptors, "as many descriptors as before")
    assert idle_kib < MOST_KIB_EACH
    assert used_kib < MOST_KIB_EACH
