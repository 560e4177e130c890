"""The web server behind every proxy: one nginx worker that listens on two ports, as two servers, in two ways."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.process import HOST, PROXY_HEADER, free_ports, running, wait_until_serving
from benchmarks.programs import find_program

BULK_PATH = "/bulk"
CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {directory}/backend.pid;
error_log {directory}/backend-error.log crit;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_header_timeout 600s;
    {temporary}
    server {{
        {listen}
        root {directory};
        location = / {{ return 200 "hello\\n"; }}
        location = {bulk} {{ }}
    }}
    server {{
        {listen_proxied}
        location = / {{ return 200 "$proxy_protocol_addr\\n"; }}
    }}
}}
"""


class Servers(NamedTuple):
    """The ports of the two servers: ``plain``, and ``proxied``, where each connection begins with a PROXY header."""

    plain: tuple[int, int]
    proxied: tuple[int, int]


TEMPORARY = ("client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path")


def user_line() -> str:
    """Nginx's ``user`` directive: for root, stay root, so that a worker may read our private directory."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""


@contextmanager
def backend(directory: Path, descriptors: int, bulk_bytes: int) -> Iterator[Servers]:
    """Serve a few bytes at ``/`` and ``bulk_bytes`` at ``BULK_PATH``.

    Behind a PROXY header there is only ``/``, which answers the address that the header claims.

    Raises: MissingProgramError without nginx; LoadFailedError when it does not start.
    """
    nginx = find_program("nginx")
    # Real blocks, not a sparse file: holes can be served from one page that never leaves the processor's cache.
    block = os.urandom(1 << 20)
    with (directory / BULK_PATH.strip("/")).open("wb") as file:
        for start in range(0, bulk_bytes, len(block)):
            file.write(block[: bulk_bytes - start])
    first, second, *others = free_ports(4)
    servers = Servers((first, second), (others[0], others[1]))
    configuration = directory / "backend.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user=user_line(),
            directory=directory,
            connections=descriptors,
            bulk=BULK_PATH,
            listen="\n".join(f"listen {HOST}:{port} backlog=4096;" for port in servers.plain),
            listen_proxied="\n".join(f"listen {HOST}:{port} backlog=4096 proxy_protocol;" for port in servers.proxied),
            temporary="\n".join(f"{name} {directory}/{name};" for name in TEMPORARY),
        )
    )
    log = directory / "backend.log"
    with running([nginx, "-p", str(directory), "-c", str(configuration)], directory, log) as child:
        for port in servers.plain:
            wait_until_serving(port, child, log)
        for port in servers.proxied:
            wait_until_serving(port, child, log, PROXY_HEADER)
        yield servers
