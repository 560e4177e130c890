"""What clients behind a proxy do: a PROXY header, a request, and nothing more on that connection.

No common load tool sends a header.
"""

import socket

from benchmarks.errors import LoadFailedError
from benchmarks.loads import Outcome
from benchmarks.one_shot import one_shot_connections
from benchmarks.process import CLAIMED, PROXY_HEADER

SAID = PROXY_HEADER + b"GET / HTTP/1.0\r\n\r\n"
ANSWER_BYTES = 4096
"""More than the whole answer has."""


def proxied_connections(port: int, concurrency: int, connections: int, deadline_s: float) -> Outcome:
    """One header and one request, in one write, on each of ``connections`` connections, ``concurrency`` at a time.

    Raises: LoadFailedError when a connection fails or gets another answer than the address that the header claims.
    """
    return one_shot_connections(port, SAID, _check, concurrency, connections, deadline_s)


def _check(sock: socket.socket) -> None:
    answer = sock.recv(ANSWER_BYTES)
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"\r\n\r\n" + CLAIMED + b"\n"):
        raise LoadFailedError(f"unexpected answer: {answer[:100]!r}")
