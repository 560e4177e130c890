"""squid in front of the proxy, with a header in its tunnel, and behind it, receiving headers.

It has no sender: what goes through its tunnel, header and all, comes from a client that plays its part.
"""

import os
from typing import Any

import pytest

from tests.interop.daemons import Daemon, Daemons
from tests.interop.headers import spell
from tests.interop.ways import (
    FAMILIES,
    SENDER,
    VERSIONS,
    Before,
    Behind,
    FreePort,
    PutBefore,
    dial,
    exchange,
    far_ends,
    fresh_payload,
    hear_all,
)
from tests.loopback.servers import Server

pytestmark = [pytest.mark.linux, pytest.mark.daemon("squid")]

Squid = tuple[Daemon, int, int]
CONFIG = """\
http_port 127.0.0.1:{tunnel}
http_port 127.0.0.1:{receiver} require-proxy-header
acl before_us src 127.0.0.1/32
proxy_protocol_access allow before_us
acl known src 127.0.0.77/32 2001:db8::77/128
http_access allow known
http_access deny all
tcp_outgoing_address {sender}
logformat client client=%>a:%>p %rm %>Hs
access_log stdio:{folder}/access.log client
buffered_logs off
cache_log {folder}/cache.log
cache deny all
pid_filename none
coredump_dir {folder}
shutdown_lifetime 0 seconds
visible_hostname squid.test
pinger_enable off
max_filedescriptors 256
"""


@pytest.fixture(scope="module")
def squid(daemons: Daemons, free_port: FreePort) -> Squid:
    """A squid that serves known clients alone, and its two ports: one for tunnels, one that receives headers."""
    folder = daemons.folder()
    folder.chmod(0o777)  # squid gives up root for a user of its own
    ports = {"tunnel": free_port(), "receiver": free_port()}
    (folder / "squid.conf").write_text(CONFIG.format(folder=folder, sender=SENDER, **ports))
    name = f"tests{os.getpid()}"  # of its shared memory: another squid may run on this machine
    started = daemons.start(
        "squid", "squid", "-N", "-n", name, "-f", "squid.conf", folder=folder, ports=[*ports.values()]
    )
    return started, ports["tunnel"], ports["receiver"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_in_squid_s_tunnel_tells_us_the_client(
    version: str, family: str, squid: Squid, behind: Behind
) -> None:
    payload = fresh_payload()
    _, tunnel, _ = squid
    client = dial(tunnel)
    client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % behind.port)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")
    ends = far_ends(family) if family == "IPv6" else (client.getsockname(), client.getpeername())
    client.sendall(spell(version, *ends))
    exchange(client, payload)
    behind.expect(payload, ends[0], SENDER)


@pytest.fixture(scope="module")
def way(squid: Squid, put_before: PutBefore) -> Before:
    """The way to the port of squid's that receives headers."""
    return put_before(squid[2])


def forwarded(client: Any) -> None:
    """Serve the one request of a connection: say for whom squid made it."""
    request = client.recv(65536)
    said = b"".join(line for line in request.split(b"\r\n") if line.lower().startswith(b"x-forwarded-for:"))
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(said), said))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_squid_learns_the_client_from_us(version: str, family: str, way: Before, squid: Squid) -> None:
    origin = Server(forwarded)
    try:
        with way.client(version, family) as (client, (address, port)):
            request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            client.sendall(request % origin.port)
            assert hear_all(client).endswith(f"X-Forwarded-For: {address}".encode())
            squid[0].wait_for(f"client={address}:{port} GET 200", "access.log")
    finally:
        origin.close()
