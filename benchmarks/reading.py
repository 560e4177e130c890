"""A web server that reads every request to its end before it answers. Usage: ``reading.py HOST PORT...``

Bodies are thrown away. Requests with a ``Content-Length`` or without a body, no pipelining; anything else is answered
with 400, so that it becomes an error of the load.
"""

import re
import selectors
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nread\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
READ_BYTES = 256 * 1024
BACKLOG = 4096


class Reader:
    """One connection: the head so far, or how many bytes of the body are still to come."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._head = b""
        self._left = 0

    def received(self, chunk: memoryview) -> None:
        """Take what was read, and answer when that ends a request."""
        length = len(chunk)
        if not self._left:
            self._head += chunk
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            found = LENGTH.search(head + b"\r\n")
            if CHUNKED.search(head):
                self._sock.sendall(REFUSAL)
                return
            self._left = int(found[1]) if found else 0
            length = len(body)
        self._left -= length
        if self._left <= 0:
            self._sock.sendall(ANSWER if not self._left else REFUSAL)
            self._left = 0


def main(host: str, ports: list[int]) -> None:
    """Serve until a signal comes."""
    buffer = memoryview(bytearray(READ_BYTES))
    with selectors.DefaultSelector() as selector:
        for port in ports:
            listener = socket.create_server((host, port), backlog=BACKLOG)
            selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                sock: socket.socket = key.fileobj  # type: ignore[assignment]
                if key.data is None:
                    accepted = sock.accept()[0]
                    selector.register(accepted, selectors.EVENT_READ, Reader(accepted))
                    continue
                try:
                    count = sock.recv_into(buffer)
                    if count:
                        key.data.received(buffer[:count])
                except OSError:
                    count = 0
                if not count:
                    selector.unregister(sock)
                    sock.close()


if __name__ == "__main__":
    main(sys.argv[1], [int(argument) for argument in sys.argv[2:]])
