"""A thousand clients and their requests, of all sorts, with servers of all sorts: nothing is mixed up or left behind.

Everything random comes from one seed, which a failure prints; ``TWISTED_LB_TEST_SEED`` in the environment repeats it.
"""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.test_stress import AT_ONCE, MORTAL, STUCK_S, seed
from tests.loopback.traffic import KINDS, NOISE, Inventory, config_of, listen, reset_on_close, stretch

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy, Wait

__all__ = ["seed"]

CLIENTS = 1000
LARGEST = 600_000
WELL = ("length", "chunked", "close")
"""Ways to answer that bring everything."""
BADLY = ("cut", "reset", "garbage", "early")
LEAVING = ("close", "fin", "reset", "half a head", "half a body", "within the response", "at once")
OF_HTTP = MORTAL | {
    *("Exchange", "BodyExchange", "ServerConnection", "Tunnel", "Lingering", "Remainder", "Questions", "Own"),
}


@dataclass(frozen=True)
class Ask:
    """One request: ``size`` bytes of the noise from ``start`` on are to come back, ``way``; ``body`` bytes go up."""

    way: str
    start: int
    size: int
    body: int
    chunked: bool

    def head(self) -> bytes:
        framing = ""
        if self.body:
            framing = "Transfer-Encoding: chunked\r\n" if self.chunked else f"Content-Length: {self.body}\r\n"
        method = "POST" if self.body else "GET"
        return f"{method} /{self.way}/{self.start}/{self.size} HTTP/1.1\r\nHost: x\r\n{framing}\r\n".encode()

    def whole(self) -> bytes:
        data = bytes(stretch(0, self.body))
        if self.body and self.chunked:
            half = len(data) // 2
            parts = [part for part in (data[:half], data[half:]) if part]
            data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        return self.head() + data


@dataclass(frozen=True)
class Play:
    """What one client does."""

    kind: str
    asks: tuple[Ask, ...]
    pipelined: bool
    leaves: str


def some_ask(chance: random.Random, well: bool) -> Ask:
    most = chance.choice((0, 10, 3000, 70_000, LARGEST))
    size = chance.randint(0, most)
    body = chance.choice((0, 0, 0, 5, 3000, 200_000))
    way = chance.choice(WELL if well else BADLY)
    return Ask(way, chance.randint(0, len(NOISE) - size), size, body, chance.random() < 0.4)


def plays(seed: int) -> Iterator[Play]:
    """Make up what all clients do; the last request may go wrong."""
    chance = random.Random(seed)
    for _ in range(CLIENTS):
        asks = [some_ask(chance, True) for _ in range(chance.randint(0, 4))]
        if chance.random() < 0.25:
            asks.append(some_ask(chance, False))
        yield Play(chance.choice(KINDS), tuple(asks), chance.random() < 0.3, chance.choice(LEAVING))


class Servers:
    """Answers as each request asks to be answered. ``faults``: what was wrong with requests."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self._one(reader, writer):
                    pass
            except ValueError as error:
                self.faults.append(f"a server was sent what is no HTTP: {error}")
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.partition(b"\r\n")[0].split(b" ")
        _, way, start, size = target.decode().split("/")
        if way == "early":
            # Who closes without having said so is unlucky for a POST that is on its way already.
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return False
        body = await self._body(head, reader)
        if body != bytes(stretch(0, len(body))) or (method == b"POST") != bool(body):
            self.faults.append(f"{target!r} came with another body")
        data = bytes(stretch(int(start), int(size)))
        return await self._answer(way, data, writer)

    async def _body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if b"Transfer-Encoding: chunked" in head:
            body = b""
            while size := int((await reader.readuntil(b"\r\n")), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
            return body
        _, _, length = head.partition(b"Content-Length: ")
        return await reader.readexactly(int(length.partition(b"\r\n")[0] or 0))

    async def _answer(self, way: str, data: bytes, writer: asyncio.StreamWriter) -> bool:
        if way == "garbage":
            writer.write(b"\x00garbage\r\n\r\n")
        elif way == "chunked":
            half = len(data) // 2
            parts = [part for part in (data[:half], data[half:]) if part]
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
        elif way == "close":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + data)
        elif way == "length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) + 10) + data)
        await writer.drain()
        if way == "reset":
            writer.transport.abort()
        return way in ("length", "chunked")


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one response. Raises: IncompleteReadError or ConnectionError if it is cut short."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    if b"Transfer-Encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline() or b"", 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return status, body
    _, _, length = head.partition(b"Content-Length: ")
    return status, await reader.readexactly(int(length.partition(b"\r\n")[0]))


async def play(play: Play, port: int) -> list[str]:
    """Do what a client does; returns what was wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    sock: socket.socket = writer.get_extra_info("socket")
    faults: list[str] = []
    try:
        if play.pipelined:
            writer.writelines(ask.whole() for ask in play.asks)
        for ask in play.asks:
            if not play.pipelined:
                writer.write(ask.whole())
            if play.leaves == "within the response" and ask is play.asks[-1]:
                break
            try:
                status, body = await response(reader)
            except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
                if ask.way in WELL:
                    faults.append(f"{ask} was cut short: {error!r}")
                break
            expected = {"garbage": 502, "early": 413}.get(ask.way, 200)
            good = body == bytes(stretch(ask.start, ask.size)) if ask.way in WELL else ask.way not in ("cut", "reset")
            if ask.way == "reset" and status == 502:
                continue
            if status != expected or not good:
                faults.append(f"{ask} was answered with {status} and {len(body)} bytes")
            if ask.way not in WELL:
                break
        await leave(play, reader, writer, sock)
    except ConnectionError:
        if all(ask.way in WELL for ask in play.asks):
            faults.append("the connection broke")
    finally:
        writer.close()
    return faults


async def leave(play: Play, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sock: socket.socket) -> None:
    if play.leaves == "reset":
        reset_on_close(sock)
    elif play.leaves == "half a head":
        writer.write(b"GET / HTTP/1.1\r\nHo")
        await writer.drain()
    elif play.leaves == "half a body":
        writer.write(b"POST /length/0/10 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
        await writer.drain()
    elif play.leaves == "fin":
        with contextlib.suppress(OSError):
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass


async def run(script: list[Play], ports: dict[str, int], listener: socket.socket) -> list[str]:
    """Let all clients play, so many at once; returns what was wrong."""
    servers, faults = Servers(), []
    serving = await asyncio.start_server(servers.serve, sock=listener, limit=1 << 20)
    waiting = iter(script)

    async def some() -> None:
        for one in waiting:
            try:
                async with asyncio.timeout(STUCK_S):
                    faults.extend(await play(one, ports[one.kind]))
            except TimeoutError:
                faults.append(f"stuck: {one}")

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    serving.close()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.01)
    return faults + servers.faults


@pytest.mark.linux
def test_a_thousand_clients_of_all_sorts_get_what_they_asked_for_and_leave_nothing(
    proxy: "StartProxy", free_port: "FreePort", wait: "Wait", seed: int, tmp_path: Path
) -> None:
    ports = {kind: free_port() for kind in KINDS}
    server_port = free_port()
    inventory = Inventory(tmp_path, wait)
    config = config_of(ports, server_port, mode="http")
    for backend in config["backends"].values():
        backend.update(pool={"idle_timeout": "500ms"}, retries=0)
    running: Proxy = proxy(inventory.configured(config), before=inventory.environment)
    script = list(plays(seed))
    first = [Play(kind, (Ask("length", 0, 10, 0, False),), False, "close") for kind in KINDS]
    with listen(server_port) as listener:
        assert asyncio.run(run(first, ports, listener.dup())) == []
        wait(lambda: not OF_HTTP & inventory.take(running.pid)["alive"].keys(), "the first connections are forgotten")
        before = inventory.take(running.pid)
        faults = asyncio.run(run(script, ports, listener))
    odd = [record for record in running.records(1) if record["status"] not in (0, 200, 400)]
    why = "\n".join(f"{one['frontend']} {one['target']} {one['ending']} {one['reason']}" for one in odd[-20:])
    assert not faults, f"seed {seed}: {len(faults)} faults\n" + "\n".join(faults[:20]) + "\n" + why

    left: dict[str, Any] = {}

    def nothing_left() -> bool:
        now = inventory.take(running.pid)
        left.clear()
        left.update({name: count for name, count in now["alive"].items() if name in OF_HTTP})
        for what in ("sessions", "connections", "armed", "watched", "waiting for a turn", "set aside"):
            if now[what] != before[what]:
                left[what] = now[what]
        if now["plugin failures"] or now["told"].get("opened") != now["told"].get("closed"):
            left["told"] = now["told"], now["plugin failures"]
        if len(now["descriptors"]) != len(before["descriptors"]):
            left["descriptors"] = set(now["descriptors"]) - set(before["descriptors"])
        return not left

    with contextlib.suppress(pytest.fail.Exception):
        wait(nothing_left, "nothing is left")
    assert not left, f"seed {seed}"
    records = running.records(1)
    print(f"{len(records)} requests; endings {Counter(record['ending'] for record in records)}")
    assert len(records) >= CLIENTS // 2
    assert "I" not in {record["ending"][0] for record in records}
