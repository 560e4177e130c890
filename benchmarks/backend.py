"""The web server behind every proxy: one nginx worker that listens on two ports, as two servers, in two ways.

nginx answers some requests before it has read them whole; uploads go to a small server of our own, also on two ports.
So do ClientHellos, to another one.
"""

import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.arrangement import Arrangement
from benchmarks.greeting import SERVER_HELLO
from benchmarks.hello import CLIENT_HELLO
from benchmarks.network import Place
from benchmarks.process import HOST, PROXY_HEADER, free_ports, running, wait_until_serving
from benchmarks.programs import find_program

BULK_PATH = "/bulk"
CLIENT_PATH = "/client"
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
        location = {client} {{ return 200 "$remote_addr $remote_port\n"; }}
    }}
    server {{
        {listen_proxied}
        location = / {{ return 200 "$proxy_protocol_addr\\n"; }}
    }}
}}
"""


class Servers(NamedTuple):
    """The ports of the two servers: ``plain``; ``proxied``, where connections begin with a PROXY header; ``reading``,
    which read every request to its end before they answer; ``greeting``, which answer a ClientHello.
    """

    plain: tuple[int, int]
    proxied: tuple[int, int]
    reading: tuple[int, int]
    greeting: tuple[int, int]

    def behind(self, arrangement: Arrangement) -> tuple[int, int]:
        """The ports that a proxy in ``arrangement`` connects to."""
        match arrangement:
            case Arrangement.PROXIED:
                return self.proxied
            case Arrangement.UPLOADS:
                return self.reading
            case Arrangement.TLS_RULES:
                return self.greeting
            case _:
                return self.plain


READING_SERVER = Path(__file__).with_name("reading.py")
GREETING_SERVER = Path(__file__).with_name("greeting.py")
TEMPORARY = ("client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path")


def user_line() -> str:
    """Nginx's ``user`` directive: for root, stay root, so that a worker may read our private directory."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""


@contextmanager
def backend(directory: Path, descriptors: int, bulk_bytes: int, place: Place | None = None) -> Iterator[Servers]:
    """Serve a few bytes at ``/``, ``bulk_bytes`` at ``BULK_PATH`` and the client's address at ``CLIENT_PATH``.

    ``place``: where; on loopback if ``None``. Behind a PROXY header there is only ``/``, which answers the address that
    the header claims; the reading ones answer all paths alike.

    Raises: MissingProgramError without nginx; LoadFailedError when it does not start.
    """
    place = place or Place(HOST)
    nginx = find_program("nginx")
    _fill(directory / BULK_PATH.strip("/"), bulk_bytes)
    ports = place.call(lambda: free_ports(8, place.address))
    servers = Servers((ports[0], ports[1]), (ports[2], ports[3]), (ports[4], ports[5]), (ports[6], ports[7]))
    configuration = directory / "backend.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user=user_line(),
            directory=directory,
            connections=descriptors,
            bulk=BULK_PATH,
            client=CLIENT_PATH,
            listen="\n".join(f"listen {place.address}:{port} backlog=4096;" for port in servers.plain),
            listen_proxied="\n".join(
                f"listen {place.address}:{port} backlog=4096 proxy_protocol;" for port in servers.proxied
            ),
            temporary="\n".join(f"{name} {directory}/{name};" for name in TEMPORARY),
        )
    )
    log, reading_log, greeting_log = (directory / f"{name}.log" for name in ("backend", "reading", "greeting"))
    command = place.command([nginx, "-p", str(directory), "-c", str(configuration)])
    reading = place.command([sys.executable, str(READING_SERVER), place.address, *map(str, servers.reading)])
    greeting = place.command([sys.executable, str(GREETING_SERVER), place.address, *map(str, servers.greeting)])
    with (
        running(command, directory, log) as child,
        running(reading, directory, reading_log) as reader,
        running(greeting, directory, greeting_log) as greeter,
    ):

        def wait() -> None:
            for port in servers.plain:
                wait_until_serving((place.address, port), child, log)
            for port in servers.proxied:
                wait_until_serving((place.address, port), child, log, PROXY_HEADER)
            for port in servers.reading:
                wait_until_serving((place.address, port), reader, reading_log)
            for port in servers.greeting:
                wait_until_serving((place.address, port), greeter, greeting_log, b"", CLIENT_HELLO, SERVER_HELLO)

        place.call(wait)
        yield servers


def _fill(path: Path, size: int) -> None:
    # Real blocks, not a sparse file: holes can be served from one page that never leaves the processor's cache.
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
