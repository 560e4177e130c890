"""Many slow uploads at once: each connection says a piece, and then waits until all the others have said theirs."""

import socket
from contextlib import ExitStack

from benchmarks.cpu import resident_bytes
from benchmarks.errors import LoadFailedError
from benchmarks.placement import Target

PIECES = 16
WARM_UP_UPLOADS = 20
SAMPLES_PER_TURN = 4
TIMEOUT_S = 30


def growth_bytes(target: Target, uploads: int, body_bytes: int) -> float:
    """By how much user-space memory grows while ``uploads`` bodies of ``body_bytes`` each are sent, at its highest.

    The memory is looked at between pieces, some sixty times. What a few uploads leave allocated counts as before.
    Raises: LoadFailedError when a connection is refused, or an upload is not answered with 200 once it is complete.
    """
    assert target.pid is not None
    _upload(target, WARM_UP_UPLOADS, body_bytes)
    before = resident_bytes(target.pid)
    return _upload(target, uploads, body_bytes) - before


def _upload(target: Target, uploads: int, body_bytes: int) -> int:
    """Do it once; the highest resident set that was seen."""
    assert target.pid is not None
    piece = bytes(body_bytes // PIECES)
    head = f"POST / HTTP/1.1\r\nHost: benchmark\r\nContent-Length: {len(piece) * PIECES}\r\n\r\n".encode()
    every = max(1, uploads // SAMPLES_PER_TURN)
    highest = 0
    with ExitStack() as opened:
        try:
            sockets = []
            for _ in range(uploads):
                sockets.append(opened.enter_context(socket.create_connection(target.address, timeout=TIMEOUT_S)))
                sockets[-1].sendall(head)
            for _ in range(PIECES):
                for number, sock in enumerate(sockets):
                    sock.sendall(piece)
                    if number % every == 0:
                        highest = max(highest, resident_bytes(target.pid))
            answers = [sock.recv(4096) for sock in sockets]
        except OSError as error:
            raise LoadFailedError(f"{uploads} uploads at once: {error}") from error
    for number, answer in enumerate(answers):
        if not answer.startswith(b"HTTP/1.1 200"):
            raise LoadFailedError(f"upload {number + 1} of {uploads}: unexpected answer: {answer[:100]!r}")
    return highest
