"""Small messages get their turn while bulk transfers take all that the relay can give."""

import multiprocessing
import os
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.loopback.traffic import MIB, NOISE, config_of, listen, median

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy, Wait

Pair = tuple[socket.socket, socket.socket]

TIMEOUT_S = 30
BULKS = 4
MESSAGES = 200
PAUSE_S = 0.01
"""Between two messages; the bulk transfers have the proxy for themselves then."""
MOST_MEDIAN_S = 0.05
"""Several times what it takes. How long a turn of a bulk transfer is, ``tests/stages/test_relay.py`` counts."""


class Bulk:
    """Bytes that go from each server to its client as fast as they can, in a process of their own.

    So that what is measured here waits for the proxy and not for this interpreter; and that it does not wait for a
    processor either, that process has a lower priority.
    """

    def __init__(self, pairs: list[Pair]) -> None:
        fork = multiprocessing.get_context("fork")
        self._moved = fork.RawArray("Q", len(pairs))
        self._stop = fork.Event()
        self._process = fork.Process(target=self._run, args=(pairs,), daemon=True)
        self._process.start()

    @property
    def moved(self) -> list[int]:
        """How many bytes have arrived at each client."""
        return list(self._moved)

    def _run(self, pairs: list[Pair]) -> None:
        os.nice(10)
        threads = [threading.Thread(target=self._send, args=(server,)) for _, server in pairs]
        threads += [
            threading.Thread(target=self._receive, args=(number, client)) for number, (client, _) in enumerate(pairs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, server: socket.socket) -> None:
        while not self._stop.is_set():
            server.sendall(memoryview(NOISE)[:MIB])
        server.shutdown(socket.SHUT_WR)

    def _receive(self, number: int, client: socket.socket) -> None:
        room = bytearray(MIB)
        while count := client.recv_into(room):
            self._moved[number] += count

    def stop(self) -> None:
        """End it, and wait until all has arrived."""
        self._stop.set()
        self._process.join(TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            pytest.fail("a bulk transfer is stuck")
        assert self._process.exitcode == 0


@pytest.mark.linux
def test_small_messages_are_not_starved_by_bulk_transfers(
    proxy: "StartProxy", free_port: "FreePort", wait: "Wait"
) -> None:
    port, server_port = free_port(), free_port()
    proxy(config_of({"streams": port}, server_port))
    with ExitStack() as stack:
        listener = stack.enter_context(listen(server_port))
        listener.settimeout(TIMEOUT_S)
        pairs = []
        for _ in range(BULKS + 1):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = stack.enter_context(listener.accept()[0])
            server.settimeout(TIMEOUT_S)
            pairs.append((client, server))
        client, server = pairs.pop()
        bulk = Bulk(pairs)
        latencies, passed = [], []
        try:
            wait(lambda: sum(bulk.moved) > 100 * MIB, "the bulk transfers are under way")
            at_first = sum(bulk.moved)
            for number in range(MESSAGES):
                time.sleep(PAUSE_S)
                question = b"%06d" % number
                before, began = sum(bulk.moved), time.monotonic()
                client.sendall(question)
                assert server.recv(10) == question
                server.sendall(question)
                assert client.recv(10) == question
                latencies.append(time.monotonic() - began)
                passed.append(sum(bulk.moved) - before)
            beside = sum(bulk.moved) - at_first
        finally:
            bulk.stop()
    shares = [moved / MIB for moved in bulk.moved]
    print(
        f"{median(latencies) * 1000:.1f} ms there and back in the median, {max(latencies) * 1000:.0f} ms at most, while"
        f" {median(passed) / MIB:.1f} MiB passed in bulk; MiB of each: {[round(share) for share in shares]}"
    )
    assert beside > 100 * MIB, "the bulk transfers did not keep the proxy busy"
    assert median(latencies) < MOST_MEDIAN_S
    assert min(shares) > max(shares) / 10, "one bulk transfer starves another"
