"""A service that decides over HTTP and a DNS blocklist, each in a thread; imported by tests, runs no test itself."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One question to a service; the names of ``fields`` are in small letters."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes


Decide = Callable[[Asked], tuple[int, Mapping[str, str], bytes]]


class Authorizer:
    """A service. ``decide``: answers status, fields and body. ``certificate``: a file with it and its key, for TLS.

    ``asked``: what it was asked. ``hold``: it answers nobody until this is set. ``left``: who asked and did not wait.
    """

    def __init__(self, decide: Decide, certificate: Path | None = None) -> None:
        self.decide = decide
        self.asked: list[Asked] = []
        self.hold = threading.Event()
        self.hold.set()
        self.left = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._speaker())
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/authorize"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _speaker(self) -> type[BaseHTTPRequestHandler]:
        authorizer = self

        class Speaker(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                fields = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, fields, body)
                authorizer.asked.append(asked)
                while not authorizer.hold.wait(0.02):
                    if self._has_left():
                        authorizer.left.set()
                        self.close_connection = True
                        return
                status, more, said = authorizer.decide(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(said)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = answer

            def _has_left(self) -> bool:
                try:
                    return not len(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
                except BlockingIOError:
                    return False
                except OSError:
                    return True

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Speaker

    def close(self) -> None:
        """Answer nobody any more."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Blocklist:
    """A name server that knows the addresses of ``names``, and answers nobody while it is ``silent``."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        self.asked: list[str] = []
        self.silent = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.resolver = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._open:
            try:
                data, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            labels, at = [], 12
            while data[at]:
                labels.append(data[at + 1 : at + 1 + data[at]].decode())
                at += 1 + data[at]
            name = ".".join(labels)
            self.asked.append(name)
            if self.silent:
                continue
            code = self.names.get(name)
            head = data[:2] + struct.pack("!5H", 0x8180 if code else 0x8183, 1, bool(code), 0, 0)
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + socket.inet_aton(code) if code else b""
            self._socket.sendto(head + data[12 : at + 5] + record, client)

    def close(self) -> None:
        """Be dead."""
        self._open = False
        self._thread.join(5)
        self._socket.close()
