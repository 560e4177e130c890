"""Web servers that say how they understood each request: nginx, HAProxy, twisted.web; runs no test itself."""

import itertools
import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from tests.interop.daemons import Daemon, Daemons
from tests.interop.ways import FreePort
from tests.loopback.conftest import wait_until

NGINX_FOLDERS = """\
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fast; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
"""


class View(NamedTuple):
    """One request, as a server understood it. ``status``: what it answered."""

    method: str
    target: str
    body: bytes
    status: int


class WebServer(ABC):
    """A web server on ``port`` that writes down each request when it has answered it."""

    def __init__(self, daemons: Daemons, free_port: FreePort) -> None:
        self.port = free_port()
        self.daemon = self.start(daemons, free_port)
        self._read = 0

    @abstractmethod
    def start(self, daemons: Daemons, free_port: FreePort) -> Daemon:
        """Start it."""

    @abstractmethod
    def all_seen(self) -> list[View]:
        """Return all that it has seen since it runs."""

    def seen(self, last: str) -> list[View]:
        """Wait until the target ``last`` was asked for; return what was seen since this was last called, but for it."""
        wait_until(
            lambda: any(view.target == last for view in self.all_seen()), f"{last}, among {self.all_seen()[-5:]}"
        )
        views = self.all_seen()[self._read :]
        self._read += len(views)
        return [view for view in views if view.target != last]


def start_nginx(daemons: Daemons, folder: Path, http: str, *ports: int) -> Daemon:
    """Start nginx with ``http`` in its block of that name."""
    first = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
    whole = (
        f"{first}daemon off;\npid nginx.pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n{NGINX_FOLDERS}{http}}}\n"
    )
    (folder / "nginx.conf").write_text(whole)
    arguments = ("-p", folder, "-e", "stderr", "-c", "nginx.conf")
    return daemons.start("nginx", "nginx", *arguments, folder=folder, ports=ports)


class Nginx(WebServer):
    """nginx; it hands each request on to another server of its own, so that it has to read the body."""

    def start(self, daemons: Daemons, free_port: FreePort) -> Daemon:
        """See ``WebServer``."""
        inner = free_port()
        self._log = (folder := daemons.folder()) / "seen.log"
        http = f"""\
    log_format seen escape=json
        '{{"method":"$request_method","target":"$request_uri","body":"$request_body","status":"$status"}}';
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{self.port};
        access_log seen.log seen;
        client_body_buffer_size 64k;
        client_body_in_single_buffer on;
        location / {{ proxy_pass http://127.0.0.1:{inner}; }}
    }}
    server {{ listen 127.0.0.1:{inner}; access_log off; return 200 "seen"; }}
"""
        return start_nginx(daemons, folder, http, self.port, inner)

    def all_seen(self) -> list[View]:
        """See ``WebServer``."""
        lines = self._log.read_text("latin-1").splitlines() if self._log.exists() else []
        found = map(json.loads, lines)
        return [View(one["method"], one["target"], one["body"].encode("latin-1"), int(one["status"])) for one in found]


class HAProxy(WebServer):
    """HAProxy, which answers by itself once it has the whole body."""

    def start(self, daemons: Daemons, free_port: FreePort) -> Daemon:
        """See ``WebServer``."""
        folder = daemons.folder()
        (folder / "haproxy.cfg").write_text(f"""\
global
    log stdout format raw local0
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 10s
    log global
    option http-buffer-request
listen seen
    bind 127.0.0.1:{self.port}
    http-request set-var(txn.body) req.body,hex
    http-request set-var(txn.url) url
    http-request return status 405 if METH_CONNECT
    http-request return status 200 content-type text/plain string "seen"
    log-format "seen %ST %[capture.req.method] %[var(txn.url)] %[var(txn.body)]"
    error-log-format "seen %ST - - -"
""")
        return daemons.start("haproxy", "haproxy", "-f", "haproxy.cfg", folder=folder, ports=[self.port])

    def all_seen(self) -> list[View]:
        """See ``WebServer``."""
        views = []
        for line in self.daemon.output.read_text("latin-1").splitlines():
            if line.startswith("seen "):
                _, status, method, target, body = line.split(" ")
                views.append(View(method, target, bytes.fromhex(body.replace("-", "")), int(status)))
        return views


class TwistedWeb(WebServer):
    """twisted.web, in a process of its own."""

    def start(self, daemons: Daemons, free_port: FreePort) -> Daemon:
        """See ``WebServer``."""
        self._log = (folder := daemons.folder()) / "seen.log"
        program = Path(__file__).with_name("twisted_server.py")
        return daemons.start("twisted", sys.executable, program, str(self.port), folder=folder, ports=[self.port])

    def all_seen(self) -> list[View]:
        """See ``WebServer``."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        found = map(json.loads, lines)
        return [View(one["method"], one["target"], bytes.fromhex(one["body"]), one["status"]) for one in found]


markers = (f"/marker-{number}" for number in itertools.count())
"""Targets that no request of the corpus has."""
