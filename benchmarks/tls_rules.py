"""Connections that are judged by their ClientHello: the same ten rules for ours and for HAProxy, and clients for them.

All rules are asked about every connection: the last of them is the one that lets it pass.
"""

import socket

from benchmarks.errors import LoadFailedError
from benchmarks.greeting import SERVER_HELLO
from benchmarks.hello import CLIENT_HELLO
from benchmarks.loads import Outcome
from benchmarks.one_shot import one_shot_connections

OURS = (
    ("deny", "source in ['203.0.113.0/24', '2001:db8::/32']"),
    ("deny", "source.port < 1024"),
    ("deny", "destination.port == 25"),
    ("deny", "tls.sni == 'bad.example'"),
    ("deny", "tls.sni in ['a.example', 'b.example', 'c.example', 'd.example']"),
    ("deny", "tls.sni.endswith('.bad.example')"),
    ("deny", "tls.sni.startswith('test-')"),
    ("deny", "tls.sni.matches('^[0-9]+[.]')"),
    ("deny", "'acme-tls/1' in tls.alpn"),
    ("allow", "tls.sni.endswith('.example.org')"),
)
"""Entries of ``policies``; behind them everything is denied."""
HAPROXY = (
    "reject if { src 203.0.113.0/24 2001:db8::/32 }",
    "reject if { src_port lt 1024 }",
    "reject if { dst_port 25 }",
    "reject if { req.ssl_sni -i bad.example }",
    "reject if { req.ssl_sni -i a.example b.example c.example d.example }",
    "reject if { req.ssl_sni -i -m end .bad.example }",
    "reject if { req.ssl_sni -i -m beg test- }",
    "reject if { req.ssl_sni -m reg ^[0-9]+[.] }",
    "reject if { req.ssl_alpn -m sub acme-tls/1 }",
    "accept if { req.ssl_sni -i -m end .example.org }",
)
"""The same as ``tcp-request content`` rules; behind them everything is rejected."""


def ours_lines() -> str:
    """The lines of a frontend of ours."""
    rules = [f'{{ {action} = "{condition}" }}' for action, condition in (*OURS, ("deny", "true"))]
    return f'validators = ["tls"]\npolicies = [{", ".join(rules)}]'


def haproxy_lines() -> str:
    """The lines of a ``listen`` section of HAProxy's."""
    rules = [f"    tcp-request content {rule}" for rule in (*HAPROXY, "reject")]
    return "\n".join(["    tcp-request inspect-delay 5s", *rules])


def hello_connections(port: int, concurrency: int, connections: int, deadline_s: float) -> Outcome:
    """A ClientHello on each of ``connections`` connections, ``concurrency`` at a time, and the ServerHello.

    Raises: LoadFailedError when a connection fails, or gets anything else.
    """
    return one_shot_connections(port, CLIENT_HELLO, _check, concurrency, connections, deadline_s)


def _check(sock: socket.socket) -> None:
    answer = sock.recv(len(SERVER_HELLO) + 1)
    if answer != SERVER_HELLO:
        raise LoadFailedError(f"unexpected answer: {answer[:100]!r}")
