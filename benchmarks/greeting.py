"""A server of TLS that goes no further than its ServerHello. Usage: ``greeting.py HOST PORT...``

It accepts a connection when something has come, answers a handshake record, and closes. Lean, so that it leaves the
processor to the proxy that is measured.
"""

import selectors
import socket
import sys

DEFER_S = 5
READ_BYTES = 4096
BACKLOG = 4096
EXTENSIONS = bytes.fromhex("002b 0002 0304  0033 0024 001d 0020") + bytes(32)
BODY = b"\x03\x03" + bytes(range(32)) + b"\x20" + bytes(32) + b"\x13\x01\x00" + len(EXTENSIONS).to_bytes(2, "big")
MESSAGE = b"\x02" + len(BODY + EXTENSIONS).to_bytes(3, "big") + BODY + EXTENSIONS
SERVER_HELLO = b"\x16\x03\x03" + len(MESSAGE).to_bytes(2, "big") + MESSAGE
"""For TLS 1.3, as long as one that is meant."""


def main(host: str, ports: list[int]) -> None:
    """Serve until a signal comes."""
    with selectors.DefaultSelector() as selector:
        for port in ports:
            listener = socket.create_server((host, port), backlog=BACKLOG)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_S)
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                _serve(key.fileobj)  # type: ignore[arg-type]


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            sock = listener.accept()[0]
        except BlockingIOError:
            return
        with sock:
            try:
                if sock.recv(READ_BYTES).startswith(b"\x16"):
                    sock.send(SERVER_HELLO)
            except OSError:
                continue


if __name__ == "__main__":
    main(sys.argv[1], [int(argument) for argument in sys.argv[2:]])
