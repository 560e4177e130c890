"""A web server of Python's own, in HTTP/1.1; arguments: its port, and a folder of files. Run by tests."""

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Origin(SimpleHTTPRequestHandler):
    """Serves files, and what else the tests want. It knows no chunks: it closes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer GET."""
        if self.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"one two three")
        else:
            self.path = self.path.replace("/files/", "/").replace("/raw/", "/")
            super().do_GET()

    def do_HEAD(self) -> None:
        """Answer HEAD."""
        self.path = self.path.replace("/files/", "/").replace("/raw/", "/")
        super().do_HEAD()

    def do_POST(self) -> None:
        """Answer POST with its body."""
        said = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), lambda *args: Origin(*args, directory=sys.argv[2])).serve_forever()
