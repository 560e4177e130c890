"""nginx as a peer: one worker, no log, two servers in turn; its stream module, and in HTTP mode ``proxy_pass``."""

from collections.abc import Callable

from benchmarks.backend import TEMPORARY, user_line
from benchmarks.placement import Placement
from benchmarks.programs import find_program, find_stream_module

STREAM = """
stream {{
    access_log off;
    upstream servers {{ server {a}; server {b}; }}
    server {{
        listen {listen} backlog=4096;
        proxy_pass servers;
        proxy_connect_timeout 5s;
        proxy_timeout 600s;
    }}
}}
"""
# Nothing goes through files on disk: neither an answer nor, unless it is held, a request's body, as in other proxies.
HTTP = """
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_header_timeout 600s;
    client_body_timeout 600s;
    client_max_body_size 0;
    {temporary}
    upstream servers {{ server {a}; server {b}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering {held};
            proxy_max_temp_file_size 0;
            proxy_connect_timeout 5s;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def nginx(held: str = "off") -> Callable[[Placement], list[str]]:
    """How to prepare nginx; ``held``: ``on`` if a request's body is to be here before a server is chosen."""

    def prepare(place: Placement) -> list[str]:
        return _prepare(place, held)

    return prepare


def _prepare(place: Placement, held: str) -> list[str]:
    module = find_stream_module()
    body = HTTP if place.arrangement.http else STREAM
    first, second = place.servers
    temporary = "\n".join(f"{name} {place.directory}/{name};" for name in TEMPORARY)
    configuration = place.directory / "nginx.conf"
    configuration.write_text(
        f"""
{f"load_module {module};" if module else ""}
{user_line()}
daemon off;
worker_processes 1;
pid {place.directory}/nginx.pid;
error_log {place.directory}/nginx-error.log crit;
events {{ worker_connections {place.descriptors}; }}
{body.format(listen=place.listen, a=first, b=second, temporary=temporary, held=held)}
"""
    )
    return [find_program("nginx"), "-p", str(place.directory), "-c", str(configuration)]
