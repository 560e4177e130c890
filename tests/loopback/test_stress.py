"""Two thousand connections that do whatever connections do, and nothing is lost, mixed up or left behind.

Everything random comes from one seed, which a failure prints; ``TWISTED_LB_TEST_SEED`` in the environment repeats it.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.traffic import KINDS, MIB, NOISE, Inventory, config_of, digest, listen, reset_on_close, stretch

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy, Wait

CONNECTIONS = 2000
AT_ONCE = 80
LARGEST = 5_000_000
STUCK_S = 30.0
PREAMBLE_BYTES = 4

CLEAN = {
    "both at once": (("at once", "fin"), ("at once", "fin")),
    "client first": (("at once", "fin"), ("late", "fin")),
    "server first": (("late", "fin"), ("at once", "fin")),
    "client ends last": (("at once", "late fin"), ("at once", "fin")),
    "server ends last": (("at once", "fin"), ("at once", "late fin")),
}
"""How either side begins to send and ends, where nothing may be lost: client, server. ``late``: after the other."""
ROUGH = {
    "client closes": (("at once", "close"), ("at once", "fin")),
    "server closes": (("at once", "fin"), ("at once", "close")),
    "both close": (("at once", "close"), ("at once", "close")),
    "client resets": (("at once", "reset"), ("at once", "fin")),
    "server resets": (("at once", "fin"), ("at once", "reset")),
    "both reset": (("at once", "reset"), ("at once", "reset")),
    "client ends, then resets": (("at once", "fin, reset"), ("at once", "fin")),
    "server ends, then resets": (("at once", "fin"), ("at once", "fin, reset")),
    "silent client closes": (("at once", "close"), ("at once", "fin")),
    "silent client resets": (("at once", "reset"), ("at once", "fin")),
}
"""Likewise, where somebody goes away without having taken everything."""

MORTAL = {
    *("TcpSession", "HttpSession", "EndpointTcpSession", "Facts", "Stream"),
    *("Connecting", "EndpointAttempt", "ServerProtocol"),
    *("StreamRelay", "StreamSide", "TransportRelay", "TransportSide"),
}
"""Types of what must not outlive its connection, not even until a garbage collection."""


@dataclass(frozen=True)
class Part:
    """What one side does: it sends ``size`` bytes of the noise from ``start`` on, ``bite`` at a time, and ``ends``."""

    begins: str
    ends: str
    start: int
    size: int
    bite: int
    seed: int


@dataclass(frozen=True)
class Play:
    """One connection."""

    number: int
    kind: str
    story: str
    client: Part
    server: Part

    @property
    def preamble(self) -> bytes:
        """What the client says first, so that the server knows its part; a silent client says nothing."""
        return b"" if "silent" in self.story else self.number.to_bytes(PREAMBLE_BYTES, "big")


def some_size(chance: random.Random) -> int:
    """Mostly little, now and then a lot."""
    most = chance.choices((0, 1, 1000, 20_000, 300_000, LARGEST), (8, 4, 36, 26, 18, 8))[0]
    return chance.randint(min(most, 1), most)


def some_part(chance: random.Random, begins: str, ends: str, silent: bool) -> Part:
    """Make up how much is sent, and in which bites this side reads and writes."""
    size = 0 if silent else some_size(chance)
    bite = chance.choice((1, 100, 4096) if size < 1000 else (4096, 65536, 300_000))
    return Part(begins, ends, chance.randint(0, len(NOISE) - size), size, bite, chance.randrange(1 << 30))


def plays(seed: int) -> Iterator[Play]:
    """Make up all connections."""
    chance = random.Random(seed)
    for number in range(CONNECTIONS):
        stories = CLEAN if chance.random() < 0.6 else ROUGH
        story = chance.choice(sorted(stories))
        client, server = stories[story]
        silent = "silent" in story
        parts = some_part(chance, *client, silent), some_part(chance, *server, silent)
        yield Play(number, chance.choice(KINDS), story, *parts)


class Player:
    """One side of one connection while it plays its part, and afterwards what it has seen.

    ``said``: all that it has to say was said, and no more will come. ``heard``: ``eof``, ``reset``, or ``""`` if it
    left before.
    """

    def __init__(self, part: Part, sock: socket.socket) -> None:
        self.part = part
        self.said = False
        self.heard = ""
        self.received = 0
        self.hash = hashlib.sha256()
        self.local_port: int = sock.getsockname()[1]
        self._sock = sock
        self._chance = random.Random(part.seed)
        self._was_reset = False
        self._other_ended = asyncio.Event()

    async def play(self) -> None:
        """Read all the while; send and end as the part has it."""
        part = self.part
        reading = asyncio.create_task(self._read())
        try:
            if part.begins == "late":
                await self._other_ended.wait()
            await self._write()
            if part.ends in ("close", "reset"):
                await self._dawdle(1)
                self.said = self.said and part.ends == "close"
            else:
                if part.ends == "late fin":
                    await self._other_ended.wait()
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)
                if part.ends == "fin, reset":
                    await self._dawdle(1)
                else:
                    await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self.heard and self._was_reset:
                self.heard = "reset"
            if part.ends.endswith("reset"):
                reset_on_close(self._sock)
            self._sock.close()

    async def _write(self) -> None:
        loop, part = asyncio.get_running_loop(), self.part
        left = stretch(part.start, part.size)
        try:
            while left:
                await loop.sock_sendall(self._sock, left[: part.bite])
                left = left[part.bite :]
                await self._dawdle(0.02)
        except ConnectionResetError:
            # Told to a send, it is not told again: reading ends like any other.
            self._was_reset = True
        except BrokenPipeError:
            pass
        else:
            self.said = True

    async def _read(self) -> None:
        loop, bite = asyncio.get_running_loop(), max(self.part.bite, 4096)
        try:
            while data := await loop.sock_recv(self._sock, bite):
                self.received += len(data)
                self.hash.update(data)
                await self._dawdle(0.02)
            self.heard = "eof"
        except OSError:
            self.heard = "reset"
        self._other_ended.set()

    async def _dawdle(self, likely: float) -> None:
        if self._chance.random() < likely:
            await asyncio.sleep(self._chance.choice((0, 0.001, 0.03)))


class Stage:
    """Both ends of all connections: where the servers are, and who has played what."""

    def __init__(self, listener: socket.socket, ports: Mapping[str, int], plays: list[Play]) -> None:
        self.clients: dict[int, Player] = {}
        self.servers: dict[int, Player] = {}
        self._listener = listener
        self._ports = ports
        self._plays = plays
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self, all_ended: Callable[[], bool]) -> None:
        """Play everything, so many at once; ``all_ended``: the proxy has no connection any more."""
        self._listener.setblocking(False)
        accepting = asyncio.create_task(self._accept())
        waiting = iter(self._plays)
        await asyncio.gather(*(self._play_clients(waiting) for _ in range(AT_ONCE)))
        async with asyncio.timeout(STUCK_S):
            while self._serving:
                await asyncio.wait(self._serving)
            while not all_ended():
                await asyncio.sleep(0.05)
                while self._serving:
                    await asyncio.wait(self._serving)
        accepting.cancel()

    async def _play_clients(self, waiting: Iterator[Play]) -> None:
        loop = asyncio.get_running_loop()
        for play in waiting:
            sock = socket.socket()
            sock.setblocking(False)
            try:
                async with asyncio.timeout(STUCK_S):
                    await loop.sock_connect(sock, ("127.0.0.1", self._ports[play.kind]))
                    player = self.clients[play.number] = Player(play.client, sock)
                    with contextlib.suppress(ConnectionError):
                        await loop.sock_sendall(sock, play.preamble)
                    await player.play()
            except TimeoutError:
                pytest.fail(f"the client is stuck after {player.received} bytes: {play}")

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            task = asyncio.create_task(self._serve(sock))
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._serving.discard(task)
        task.result()

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        preamble = b""
        with sock, contextlib.suppress(ConnectionError):
            while len(preamble) < PREAMBLE_BYTES:
                data = await loop.sock_recv(sock, PREAMBLE_BYTES - len(preamble))
                if not data:
                    return
                preamble += data
            play = self._plays[int.from_bytes(preamble, "big")]
            assert play.number not in self.servers, f"a second connection for {play}"
            player = self.servers[play.number] = Player(play.server, sock)
            try:
                async with asyncio.timeout(STUCK_S):
                    await player.play()
            except TimeoutError:
                pytest.fail(f"the server is stuck after {player.received} bytes: {play}")


def faults(play: Play, client: Player, server: Player | None) -> Iterator[str]:
    """Say what was not as it must be."""
    if server is None:
        if play.story in CLEAN:
            yield "it never reached the server"
        if client.received:
            yield "the client was told something that no server has said"
        return
    for name, mine, other in (("client", client, server), ("server", server, client)):
        expected = stretch(other.part.start, min(mine.received, other.part.size))
        if mine.received > other.part.size or mine.hash.hexdigest() != digest(expected):
            yield f"the {name} got {mine.received} bytes that are not the first of {other.part.size}"
        if mine.heard == "eof" and not (other.said and mine.received == other.part.size):
            yield f"the {name} was told of a clean end after {mine.received} of {other.part.size} bytes"
        if play.story in CLEAN and not (mine.said and mine.heard == "eof"):
            yield f"the {name} ended with {mine.heard!r}, said all: {mine.said}"


def unrecorded(play: Play, client: Player, records: Counter[tuple[Any, ...]]) -> Iterator[str]:
    """Say whether the access log lacks what it must say about a clean connection."""
    if play.story in CLEAN:
        sizes = PREAMBLE_BYTES + play.client.size, play.server.size
        key = (play.kind.replace(" ", "-"), client.local_port, *sizes, "--")
        if not records[key]:
            yield f"no record {key}"
        records[key] -= 1


def greet(port: int, listener: socket.socket) -> None:
    """Have one connection come and go, so that whatever exists from the first one on exists."""
    with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
        client.sendall(b"hello")
        assert server.recv(100) == b"hello"


@pytest.fixture
def seed() -> int:
    """What everything random in this test comes from; printed, which pytest shows when the test fails."""
    chosen = int(os.environ.get("TWISTED_LB_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"\nTWISTED_LB_TEST_SEED={chosen}")
    return chosen


@pytest.mark.linux
def test_two_thousand_connections_of_all_sorts_lose_nothing_and_leave_nothing(
    proxy: "StartProxy", free_port: "FreePort", wait: "Wait", seed: int, tmp_path: Path
) -> None:
    ports = {kind: free_port() for kind in KINDS}
    server_port = free_port()
    inventory = Inventory(tmp_path, wait)
    config = inventory.configured(config_of(ports, server_port))
    running: Proxy = proxy(config, before=inventory.environment)
    script = list(plays(seed))
    with listen(server_port) as listener:
        for port in ports.values():
            greet(port, listener)
        running.records(len(ports))
        wait(lambda: not MORTAL & inventory.take(running.pid)["alive"].keys(), "the first connections are forgotten")
        before = inventory.take(running.pid)
        assert before["sessions"] == before["armed"] == before["set aside"] == 0
        stage = Stage(listener, ports, script)
        asyncio.run(stage.run(lambda: inventory.take(running.pid)["sessions"] == 0))

    records = running.records(len(ports) + CONNECTIONS)[len(ports) :]
    assert len(records) == CONNECTIONS
    seen = Counter((r["frontend"], r["source_port"], r["bytes_in"], r["bytes_out"], r["ending"]) for r in records)
    wrong = []
    for play in script:
        client, server = stage.clients[play.number], stage.servers.get(play.number)
        wrong += [f"{fault}: {play}" for fault in (*faults(play, client, server), *unrecorded(play, client, seen))]
    assert not wrong, f"seed {seed}: {len(wrong)} faults\n" + "\n".join(wrong[:20])

    expected = {**before, "told": {"opened": len(ports) + CONNECTIONS, "closed": len(ports) + CONNECTIONS}}
    different: dict[str, Any] = {}

    def nothing_left() -> bool:
        now = inventory.take(running.pid)
        now["told"].pop("routed")
        different.clear()
        different.update((what, (expected[what], now[what])) for what in expected if now[what] != expected[what])
        return not different

    with contextlib.suppress(pytest.fail.Exception):
        wait(nothing_left, "nothing is left")
    assert not different, f"seed {seed}: expected, found"
    moved = sum(r["bytes_in"] + r["bytes_out"] for r in records)
    print(f"{moved / MIB:.0f} MiB; endings {Counter(r['ending'] for r in records)}")
