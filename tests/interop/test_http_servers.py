"""Web servers behind the proxy: nginx, HAProxy, Varnish, squid, twisted.web, Node.js and Python's own.

What they send in common ways arrives whole; caches and proxies among them get it from the server of twisted.web.
"""

import gzip
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort
from tests.interop.web_servers import start_nginx
from tests.loopback.web import Client, get, tell

if TYPE_CHECKING:
    from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("nginx", "haproxy", "varnishd", "squid", "node")]

TEXT = b"the same line again and again\n" * 3000
NAMES = ("nginx", "haproxy", "varnish", "squid", "twisted", "node", "python")
Start = Callable[[Daemons, int, int, Path], None]

NGINX = """\
    access_log off;
    gzip on;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port};
        location /files/ {{ alias {files}/; }}
        location /raw/ {{ alias {files}/; gzip off; }}
        location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_buffering off; }}
    }}
"""
HAPROXY = """\
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 20s
listen before
    bind 127.0.0.1:{port}
    server origin 127.0.0.1:{origin}
"""
VARNISH = """\
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
"""
SQUID = """\
http_port 127.0.0.1:{port} accel defaultsite=a.example
cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest originserver
cache deny all
http_access allow all
access_log none
cache_log {folder}/cache.log
pid_filename none
coredump_dir {folder}
shutdown_lifetime 0 seconds
visible_hostname squid.test
pinger_enable off
max_filedescriptors 256
"""


def start_behind_nginx(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    start_nginx(daemons, daemons.folder(), NGINX.format(port=port, origin=origin, files=files), port)


def start_haproxy(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    folder = daemons.folder()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, origin=origin))
    daemons.start("haproxy", "haproxy", "-f", "haproxy.cfg", folder=folder, ports=[port])


def start_varnish(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    folder = daemons.folder()
    (folder / "origin.vcl").write_text(VARNISH.format(origin=origin))
    few = ("-T", "none", "-s", "default,8m", "-p", "vsl_space=1M", "-p", "thread_pools=1")
    where = ("-a", f"127.0.0.1:{port}", "-n", folder / "work", "-f", folder / "origin.vcl")
    daemons.start("varnish", "varnishd", "-F", *where, *few, folder=folder, ports=[port])


def start_squid(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    folder = daemons.folder()
    folder.chmod(0o777)  # squid gives up root for a user of its own
    (folder / "squid.conf").write_text(SQUID.format(port=port, origin=origin, folder=folder))
    name = f"origin{os.getpid()}"  # of its shared memory: another squid may run on this machine
    daemons.start("squid", "squid", "-N", "-n", name, "-f", "squid.conf", folder=folder, ports=[port])


def start_program(daemons: Daemons, program: str, source: str, port: int, files: Path) -> None:
    path = Path(__file__).with_name(source)
    daemons.start(source, program, path, str(port), files, folder=daemons.folder(), ports=[port])


def start_node(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    start_program(daemons, os.path.realpath(shutil.which("node") or "node"), "origin_node.js", port, files)


def start_python(daemons: Daemons, port: int, origin: int, files: Path) -> None:
    start_program(daemons, sys.executable, "origin_python.py", port, files)


STARTS: dict[str, Start] = {
    "nginx": start_behind_nginx,
    "haproxy": start_haproxy,
    "varnish": start_varnish,
    "squid": start_squid,
    "node": start_node,
    "python": start_python,
}


class Servers:
    """All servers, each behind a frontend of its own: ``port(name)``.

    ``own``: where the servers themselves listen.
    """

    def __init__(self, daemons: Daemons, start_proxy: "StartProxy", free_port: FreePort) -> None:
        files = daemons.folder()
        (files / "text.txt").write_bytes(TEXT)
        self.own = {name: free_port() for name in NAMES}
        self._ports = {name: free_port() for name in NAMES}
        start_program(daemons, sys.executable, "origin_twisted.py", self.own["twisted"], files)
        for name, start in STARTS.items():
            start(daemons, self.own[name], self.own["twisted"], files)
        frontends, backends = {}, {}
        for name in NAMES:
            frontends[name] = {"bind": f"127.0.0.1:{self._ports[name]}", "mode": "http", "backend": name}
            backends[name] = {"servers": {name: f"127.0.0.1:{self.own[name]}"}}
        self.proxy = start_proxy({"frontends": frontends, "backends": backends})

    def port(self, name: str) -> int:
        """Where the proxy listens for that server."""
        return self._ports[name]


@pytest.fixture(scope="module")
def servers(daemons: Daemons, module_proxy: "StartProxy", free_port: FreePort) -> Servers:
    return Servers(daemons, module_proxy, free_port)


every_server = pytest.mark.parametrize("name", NAMES)


@every_server
def test_a_file_is_whole(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        for _ in range(3):
            status, fields, body = client.ask("/raw/text.txt")
            assert (status, body) == (200, TEXT)
            assert fields["content-length"] == str(len(TEXT))


@every_server
def test_head_says_what_get_would_bring(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        for _ in range(3):
            status, fields, body = client.ask("/raw/text.txt", method="HEAD")
            assert (status, body) == (200, b"")
            assert fields["content-length"] == str(len(TEXT))
        assert client.ask("/raw/text.txt")[2] == TEXT


@every_server
def test_what_has_no_length_ends_where_it_ends(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        for _ in range(3):
            status, fields, body = client.ask("/chunks")
            assert (status, body) == (200, b"one two three")
            assert "content-length" in fields or fields["transfer-encoding"] == "chunked"


@every_server
def test_what_has_no_length_ends_with_the_connection_for_an_old_client(name: str, servers: Servers) -> None:
    heard = tell(servers.port(name), get("/chunks").replace(b"HTTP/1.1", b"HTTP/1.0"))
    head, _, body = heard.partition(b"\r\n\r\n")
    assert body == b"one two three"
    assert b"chunked" not in head.lower()
    assert b"\r\nConnection: close" in head


@every_server
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_body_comes_back(name: str, size: int, servers: Servers) -> None:
    said = os.urandom(size)
    for _ in range(3):
        with Client(servers.port(name)) as client:
            assert client.ask("/echo", method="POST", body=said)[::2] == (200, said)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "python"])
def test_a_body_in_chunks_comes_back(name: str, servers: Servers) -> None:
    request = get("/echo", "Transfer-Encoding: chunked", method="POST")
    with Client(servers.port(name)) as client:
        for _ in range(3):
            client.send(request + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
            assert client.response("POST")[::2] == (200, b"hello world")


@every_server
def test_no_body_is_no_body(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        for _ in range(3):
            status, fields, body = client.ask("/nothing")
            assert (status, body) == (204, b"")
            assert "transfer-encoding" not in fields
        assert client.ask("/chunks")[2] == b"one two three"


@every_server
def test_what_has_not_changed_is_not_sent_again(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        fields = client.ask("/raw/text.txt")[1]
        if "etag" in fields:
            condition = f"If-None-Match: {fields['etag']}"
        else:
            condition = f"If-Modified-Since: {fields['last-modified']}"
        for _ in range(3):
            assert client.ask("/raw/text.txt", condition)[::2] == (304, b"")
        assert client.ask("/raw/text.txt")[2] == TEXT


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("python", "node")])
def test_a_range_of_a_file(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        status, fields, body = client.ask("/raw/text.txt", "Range: bytes=10-29")
        assert (status, body) == (206, TEXT[10:30])
        assert fields["content-range"] == f"bytes 10-29/{len(TEXT)}"
        assert client.ask("/raw/text.txt", f"Range: bytes={len(TEXT)}-")[0] == 416


@pytest.mark.parametrize("name", [name for name in NAMES if name != "python"])
def test_a_compressed_file(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        status, fields, body = client.ask("/files/text.txt", "Accept-Encoding: gzip")
        assert (status, fields["content-encoding"]) == (200, "gzip")
        assert len(body) < len(TEXT) / 10
        assert gzip.decompress(body) == TEXT


def connections(pid: int, port: int) -> int:
    """How many established connections to ``port`` of this machine a process has."""
    sockets = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]
    return sum(f"socket:[{row[9]}]" in sockets for row in established)


@every_server
def test_one_connection_to_the_server_is_enough(name: str, servers: Servers) -> None:
    with Client(servers.port(name)) as client:
        client.ask("/raw/text.txt")
        before = connections(servers.proxy.pid, servers.own[name])
        for _ in range(10):
            assert client.ask("/raw/text.txt")[0] == 200
        assert connections(servers.proxy.pid, servers.own[name]) == before > 0
