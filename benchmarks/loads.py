"""What clients do to a target: wrk, ab, downloads, and many connections that stay idle.

Each load is bounded in time and number, and raises LoadFailedError rather than give a figure from a run with errors.
"""

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.backend import BULK_PATH
from benchmarks.cpu import resident_bytes
from benchmarks.errors import LoadFailedError
from benchmarks.placement import Target
from benchmarks.process import REQUEST, spawned
from benchmarks.programs import find_program

DEADLINE_MARGIN_S = 30
WARM_UP_CONNECTIONS = 20
BROWSER_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://benchmark.example/articles/2026/11/an-earlier-page?from=search&position=4",
    "DNT: 1",
    "Sec-GPC: 1",
    "Cookie: session=7f0c2d5e9ab14c6d8e3f; theme=dark; consent=all; _visitor=GA1.2.1029384756.1760000000",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
    "If-Modified-Since: Sat, 21 Nov 2026 08:15:30 GMT",
)
"""What a browser sends beside ``Host``: with that, 15 fields in a head of some 700 bytes."""
UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True)
class Outcome:
    """How many units of work were done in how long, and where known the latency of one."""

    units: float
    seconds: float
    p50_us: float | None = None
    p99_us: float | None = None


def wrk(target: Target, connections: int, seconds: int, fields: Sequence[str] = ()) -> Outcome:
    """Requests with these header ``fields`` on ``connections`` kept-alive connections from one thread of wrk."""
    options = [f"-c{connections}", f"-d{seconds}s", "--latency", *(f"-H{field}" for field in fields)]
    return parse_wrk(_run(target, ["wrk", "-t1", *options, target.url], seconds))


def parse_wrk(text: str) -> Outcome:
    """Read wrk's report.

    Raises: LoadFailedError on socket errors, answers other than 2xx or 3xx, or text that is no report.
    """
    for complaint in ("Socket errors:", "Non-2xx or 3xx responses:"):
        found = re.search(f"{complaint}.*", text)
        if found:
            raise LoadFailedError(f"wrk: {found[0]}")
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if total is None:
        raise LoadFailedError(f"wrk gave no report: {text.strip()[-300:]}")
    units, seconds = int(total[1]), float(total[2]) * UNITS_US[total[3]] / 1e6
    if not units:
        raise LoadFailedError("wrk: not one request was answered")
    return Outcome(units, seconds, _wrk_percentile(text, 50), _wrk_percentile(text, 99))


def _wrk_percentile(text: str, percent: int) -> float | None:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * UNITS_US[found[2]] if found else None


def ab(target: Target, concurrency: int, connections: int, seconds: int) -> Outcome:
    """One request on each of ``connections`` connections, ``concurrency`` at a time, from the next of the sources.

    A closed connection blocks its pair of ports for a minute (TIME_WAIT): bound ``connections``.
    """
    options = ["-q", "-B", next(target.network.sources), "-c", str(concurrency), "-t", str(seconds)]
    # ab's -t sets -n to 50000: ours has to come after it.
    return parse_ab(_run(target, ["ab", *options, "-n", str(connections), target.url], seconds))


def parse_ab(text: str) -> Outcome:
    """Read ab's report; its percentiles are whole milliseconds, too coarse to keep.

    Raises: LoadFailedError on failed requests, write errors, answers other than 2xx, or text that is no report.
    """
    counts = {name: int(number) for name, number in re.findall(r"^([\w -]+):\s+(\d+)\b", text, re.MULTILINE)}
    for complaint in ("Failed requests", "Write errors", "Non-2xx responses"):
        if counts.get(complaint):
            raise LoadFailedError(f"ab: {complaint}: {counts[complaint]}")
    seconds = re.search(r"^Time taken for tests:\s+([\d.]+) seconds", text, re.MULTILINE)
    if seconds is None or not counts.get("Complete requests"):
        raise LoadFailedError(f"ab gave no report: {text.strip()[-300:]}")
    return Outcome(counts["Complete requests"], float(seconds[1]))


def _run(target: Target, words: list[str], seconds: int) -> str:
    program, *options = words
    with spawned(target.network.clients.command([find_program(program), *options]), subprocess.PIPE) as child:
        try:
            text = child.communicate(timeout=seconds + DEADLINE_MARGIN_S)[0].decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            raise LoadFailedError(f"{program} did not end in time") from error
    if child.returncode:
        raise LoadFailedError(f"{program} ended with status {child.returncode}: {text.strip()[-300:]}")
    return text


def download(target: Target, connections: int, bodies_each: int, body_bytes: int, deadline_s: float) -> Outcome:
    """Fetch the big file ``bodies_each`` times on each connection, pipelined; units are megabytes (10^6 bytes)."""
    request = REQUEST.replace(b" / ", f" {BULK_PATH} ".encode())
    # The size of wrk's and curl's reads hardly matters here; a large one keeps this client far from being the limit.
    buffer = bytearray(256 * 1024)
    start = time.monotonic()
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        left: dict[socket.socket, int] = {}
        for _ in range(connections):
            sock = opened.enter_context(socket.create_connection(target.address, timeout=5))
            sock.sendall(request * bodies_each)
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(1):
                sock = key.fileobj  # type: ignore[assignment]
                got = sock.recv_into(buffer)
                if not got:
                    raise LoadFailedError("the connection ended in the middle of a download")
                if sock not in left:
                    left[sock] = bodies_each * (_head_bytes(bytes(buffer[:1024]), body_bytes) + body_bytes)
                left[sock] -= got
                if left[sock] <= 0:
                    selector.unregister(sock)
            if time.monotonic() - start > deadline_s:
                raise LoadFailedError(f"the download did not end within {deadline_s:.0f} s")
    return Outcome(connections * bodies_each * body_bytes / 1e6, time.monotonic() - start)


def _head_bytes(answer: bytes, body_bytes: int) -> int:
    head = answer.partition(b"\r\n\r\n")[0]
    # Some proxies write the names of fields in lower case.
    if not head.startswith(b"HTTP/1.1 200") or f"\r\ncontent-length: {body_bytes}".encode() not in head.lower():
        raise LoadFailedError(f"unexpected answer: {head[:100]!r}")
    return len(head) + 4


def idle_bytes(target: Target, connections: int) -> float:
    """User-space memory that each of ``connections`` connections costs, all open at once, each used for one request.

    Raises: LoadFailedError when one is refused or gets no answer.
    """
    assert target.pid is not None
    with ExitStack() as warmed_up:
        _open_and_use(warmed_up, target, WARM_UP_CONNECTIONS)
    before = resident_bytes(target.pid)
    with ExitStack() as opened:
        _open_and_use(opened, target, connections)
        return (resident_bytes(target.pid) - before) / connections


def _open_and_use(opened: ExitStack, target: Target, connections: int) -> None:
    # The answer proves that the connection goes all the way through, not only into the proxy's backlog.
    for number in range(connections):
        try:
            sock = opened.enter_context(socket.create_connection(target.address, timeout=5))
            sock.sendall(REQUEST)
            answered = sock.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError as error:
            raise LoadFailedError(f"connection {number + 1} of {connections}: {error}") from error
        if not answered:
            raise LoadFailedError(f"connection {number + 1} of {connections} got no answer")
