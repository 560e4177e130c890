"""Clients that say one thing on a connection, read the answer, and leave.

This load is lean, but Python: about as much processor time per connection as the proxies need, on a core that they can
hardly use; ``--peers direct`` shows what it can do at most.
"""

import select
import socket
import time
from collections.abc import Callable

from benchmarks.errors import LoadFailedError
from benchmarks.loads import Outcome
from benchmarks.process import HOST

CONNECT_DEADLINE_S = 5


def one_shot_connections(
    port: int,
    said: bytes,
    check: Callable[[socket.socket], None],
    concurrency: int,
    connections: int,
    deadline_s: float,
) -> Outcome:
    """Say ``said`` in one write on each of ``connections`` connections, ``concurrency`` at a time.

    ``check``: reads the answer when all of it is there, and raises LoadFailedError if it is not the right one.
    Raises: LoadFailedError also when a connection fails.
    """
    open_: dict[int, socket.socket] = {}
    left = connections
    start = time.monotonic()
    with select.epoll() as epoll:
        try:
            while left or open_:
                while left and len(open_) < concurrency:
                    sock = _ask(port, said)
                    open_[sock.fileno()] = sock
                    # The end of the answer is all that matters: it is waited for alone, and once.
                    epoll.register(sock.fileno(), select.EPOLLRDHUP)
                    left -= 1
                for fd, _ in epoll.poll(1):
                    sock = open_.pop(fd)
                    with sock:
                        check(sock)
                if time.monotonic() - start > deadline_s:
                    raise LoadFailedError(f"{left + len(open_)} of {connections} were left after {deadline_s:.0f} s")
        except OSError as error:
            raise LoadFailedError(f"connection {connections - left + 1} of {connections}: {error}") from error
        finally:
            for sock in open_.values():
                sock.close()
    return Outcome(connections, time.monotonic() - start)


def _ask(port: int, said: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect_ex((HOST, port))
        try:
            sock.send(said)
        except BlockingIOError:  # not connected yet: on loopback only when the listener is behind with accepting
            sock.settimeout(CONNECT_DEADLINE_S)
            sock.sendall(said)
    except BaseException:
        sock.close()
        raise
    return sock
