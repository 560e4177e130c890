"""Child processes that listen on loopback, and the certainty that they are gone afterwards."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from benchmarks.errors import LoadFailedError

HOST = "127.0.0.1"
START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 5.0
REQUEST = b"GET / HTTP/1.1\r\nHost: benchmark\r\n\r\n"
CLAIMED = b"203.0.113.7"
# PROXY v2, over TCP and IPv4: from 203.0.113.7:51000 to 198.51.100.9:443.
PROXY_HEADER = b"\r\n\r\n\0\r\nQUIT\n" + bytes.fromhex("2111000c cb007107 c6336409 c738 01bb")


def free_ports(count: int, host: str = HOST) -> list[int]:
    """``count`` different TCP ports of ``host`` that nobody listens on just now, chosen by the kernel."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((host, 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def raise_descriptor_limit() -> int:
    """Allow this process and its children as many descriptors as the hard limit does; returns that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def running(command: Sequence[str], directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` in ``directory``, its output in ``log``; on the way out it is stopped, whatever happened."""
    with log.open("ab") as output, spawned(command, output, directory) as child:
        yield child


@contextmanager
def spawned(
    command: Sequence[str], output: BinaryIO | int, directory: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` with both its outputs to ``output``; on the way out it is stopped, whatever happened.

    The child leads a process group of its own: a Ctrl-C at the terminal reaches only us, and what it forked can be
    killed with it.
    """
    child = None
    try:
        # An exception out of the constructor would lose a child that already runs.
        with signals_held():
            child = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield child
    finally:
        if child is not None:
            with signals_held():
                _stop(child)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the block is done. For the main thread."""
    held: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
        if held:
            signal.raise_signal(held[0])


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    if not poll_until(lambda: child.poll() is not None, STOP_DEADLINE_S):
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(STOP_DEADLINE_S)


def wait_until_serving(
    address: tuple[str, int],
    child: subprocess.Popen[bytes],
    log: Path,
    header: bytes = b"",
    request: bytes = REQUEST,
    answer: bytes = b"HTTP/1.1 200",
) -> None:
    """Return once ``request`` to ``address``, with ``header`` before it, gets its answer, through ``child``.

    ``answer``: how that begins.

    Raises: LoadFailedError with the end of ``log`` when ``child`` ends, or does not serve in time.
    """

    def answers() -> bool:
        if child.poll() is not None:
            raise LoadFailedError(f"ended with status {child.returncode}: {_tail(log)}")
        try:
            with socket.create_connection(address, timeout=1) as sock:
                sock.sendall(header + request)
                return sock.recv(4096).startswith(answer)
        except OSError:
            return False

    if not poll_until(answers, START_DEADLINE_S):
        raise LoadFailedError(f"did not serve within {START_DEADLINE_S:.0f} s: {_tail(log)}")


def poll_until(reached: Callable[[], bool], deadline_s: float) -> bool:
    """Ask ``reached`` again and again; whether it said yes within ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-5:])
