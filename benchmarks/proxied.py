"""What clients behind a proxy do: a PROXY header, a request, and nothing more on that connection.

No common load tool sends a header. This one is lean, but Python: about as much processor time per connection as the
proxies need, on a core that they can hardly use; ``--peers direct`` shows what it can do at most.
"""

import select
import socket
import time

from benchmarks.errors import LoadFailedError
from benchmarks.loads import Outcome
from benchmarks.process import CLAIMED, HOST, PROXY_HEADER

SAID = PROXY_HEADER + b"GET / HTTP/1.0\r\n\r\n"
CONNECT_DEADLINE_S = 5
ANSWER_BYTES = 4096
"""More than the whole answer has."""


def proxied_connections(port: int, concurrency: int, connections: int, deadline_s: float) -> Outcome:
    """One header and one request, in one write, on each of ``connections`` connections, ``concurrency`` at a time.

    Raises: LoadFailedError when a connection fails or gets another answer than the address that the header claims.
    """
    open_: dict[int, socket.socket] = {}
    left = connections
    start = time.monotonic()
    with select.epoll() as epoll:
        try:
            while left or open_:
                while left and len(open_) < concurrency:
                    sock = _ask(port)
                    open_[sock.fileno()] = sock
                    # The end of the answer is all that matters: it is waited for alone, and once.
                    epoll.register(sock.fileno(), select.EPOLLRDHUP)
                    left -= 1
                for fd, _ in epoll.poll(1):
                    sock = open_.pop(fd)
                    with sock:
                        _check(sock)
                if time.monotonic() - start > deadline_s:
                    raise LoadFailedError(f"{left + len(open_)} of {connections} were left after {deadline_s:.0f} s")
        except OSError as error:
            raise LoadFailedError(f"connection {connections - left + 1} of {connections}: {error}") from error
        finally:
            for sock in open_.values():
                sock.close()
    return Outcome(connections, time.monotonic() - start)


def _ask(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect_ex((HOST, port))
        try:
            sock.send(SAID)
        except BlockingIOError:  # not connected yet: on loopback only when the listener is behind with accepting
            sock.settimeout(CONNECT_DEADLINE_S)
            sock.sendall(SAID)
    except BaseException:
        sock.close()
        raise
    return sock


def _check(sock: socket.socket) -> None:
    answer = sock.recv(ANSWER_BYTES)
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"\r\n\r\n" + CLAIMED + b"\n"):
        raise LoadFailedError(f"unexpected answer: {answer[:100]!r}")
