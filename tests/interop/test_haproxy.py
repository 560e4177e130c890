"""HAProxy in front of the proxy, sending PROXY headers, and behind it, receiving them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.interop.daemons import Daemon, Daemons
from tests.interop.headers import ALPN, AUTHORITY, SSL, SSL_CN, SSL_VERSION, split_tlvs
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
    fresh_payload,
    hear_all,
    over_tls,
)
from tests.loopback.servers import has_ipv6, needs_ipv6

pytestmark = [pytest.mark.linux, pytest.mark.daemon("haproxy")]

SENDERS = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2-crc": "send-proxy-v2 proxy-v2-options crc32c",
    "v2-ssl-cn": "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c",
}
"""What HAProxy calls each way to send a header."""
TIMERS = "defaults\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"


@pytest.fixture(scope="module")
def senders(
    daemons: Daemons, behind: Behind, free_port: FreePort, server_pem: Path, client_pem: Path
) -> Mapping[str, int]:
    """HAProxy in front of the proxy: the port for each way to send."""
    folder = daemons.folder()
    ports = {name: free_port() for name in SENDERS}
    config = TIMERS
    for name, sending in SENDERS.items():
        tls = f" ssl crt {server_pem} ca-file {client_pem} verify required alpn http/1.1" if "ssl" in name else ""
        config += f"listen {name}\n bind 127.0.0.1:{ports[name]}{tls}\n"
        config += f" bind [::1]:{ports[name]}{tls}\n" if has_ipv6() else ""
        config += f" server ours 127.0.0.1:{behind.port} source {SENDER} {sending}\n"
    (folder / "haproxy.cfg").write_text(config)
    daemons.start("haproxy", "haproxy", "-db", "-f", "haproxy.cfg", folder=folder, ports=list(ports.values()))
    return ports


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("way", ["v1", "v2", "v2-crc"])
def test_haproxy_tells_us_its_client(way: str, host: str, senders: Mapping[str, int], behind: Behind) -> None:
    payload = fresh_payload()
    client = exchange(dial(senders[way], host=host), payload)
    behind.expect(payload, client, SENDER)


def test_haproxy_tells_us_its_client_and_what_it_knows_of_its_tls(
    senders: Mapping[str, int], behind: Behind, server_pem: Path, client_pem: Path
) -> None:
    payload = fresh_payload()
    client = exchange(over_tls(dial(senders["v2-ssl-cn"]), server_pem, client_pem), payload)
    seen = behind.expect(payload, client, SENDER)
    assert seen.header.tlvs[ALPN] == b"http/1.1"
    assert seen.header.tlvs[AUTHORITY] == b"server.test"
    about = seen.header.tlvs[SSL]
    assert about[:5] == b"\7\0\0\0\0"  # over TLS, with a certificate, which is good
    inner = split_tlvs(about[5:])
    assert inner[SSL_CN] == b"client.test"
    assert inner[SSL_VERSION] == b"TLSv1.3"


@pytest.fixture(scope="module")
def receiver(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> tuple[Daemon, Before]:
    """HAProxy behind the proxy: a web server that says whom it takes for the client."""
    folder = daemons.folder()
    port = free_port()
    (folder / "haproxy.cfg").write_text(
        f"{TIMERS} mode http\n log stdout format raw local0\n log-format '%ci:%cp went away'\n"
        f"frontend web\n bind 127.0.0.1:{port} accept-proxy\n"
        " http-request return status 200 content-type text/plain lf-string 'client=%[src]'\n"
    )
    started = daemons.start("haproxy", "haproxy", "-db", "-f", "haproxy.cfg", folder=folder, ports=[port])
    return started, put_before(port)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_haproxy_learns_the_client_from_us(version: str, family: str, receiver: tuple[Daemon, Before]) -> None:
    haproxy, before = receiver
    with before.client(version, family) as (client, (address, port)):
        client.sendall(fresh_payload())
        assert hear_all(client).endswith(f"client={address}".encode())
        haproxy.wait_for(f"{address}:{port} went away")
