"""hitch, the successor of stud, in front of the proxy and behind it: it ends TLS, and sends or passes on headers."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop.daemons import Daemons
from tests.interop.headers import ALPN, AUTHORITY, SSL, SSL_VERSION, split_tlvs
from tests.interop.recorder import Recorder
from tests.interop.ways import (
    FAMILIES,
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

pytestmark = [pytest.mark.linux, pytest.mark.daemon("hitch")]


def start_hitch(daemons: Daemons, hosts: list[str], port: int, backend: int, pem: Path, *setting: str) -> None:
    """Start one that takes TLS off what comes to ``port`` and passes it on to ``backend``."""
    folder = daemons.folder()
    lines = [f'frontend = "[{host}]:{port}"' for host in hosts]
    lines += [f'backend = "[127.0.0.1]:{backend}"', f'pem-file = "{pem}"', "workers = 1", "daemon = off"]
    lines += ['ocsp-dir = ""', 'alpn-protos = "http/1.1"', *setting]
    if os.geteuid() == 0:
        lines += ['user = "nobody"', 'group = "nogroup"']  # hitch refuses to serve as root
    (folder / "hitch.conf").write_text("\n".join([*lines, ""]))
    daemons.start("hitch", "hitch", "--config=hitch.conf", folder=folder, ports=[port])


@pytest.fixture(scope="module")
def senders(daemons: Daemons, behind: Behind, free_port: FreePort, server_pem: Path) -> Mapping[str, int]:
    """One hitch in front of the proxy for each version: their ports."""
    ports = {version: free_port() for version in VERSIONS}
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    for version, port in ports.items():
        start_hitch(daemons, hosts, port, behind.port, server_pem, f"write-proxy-{version} = on")
    return ports


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("version", VERSIONS)
def test_hitch_tells_us_its_client(
    version: str, host: str, senders: Mapping[str, int], behind: Behind, server_pem: Path
) -> None:
    payload = fresh_payload()
    client = exchange(over_tls(dial(senders[version], host=host), server_pem), payload)
    seen = behind.expect(payload, client, "127.0.0.1")
    if version == "v2":
        assert seen.header.tlvs[ALPN] == b"http/1.1"
        assert seen.header.tlvs[AUTHORITY] == b"server.test"
        assert split_tlvs(seen.header.tlvs[SSL][5:])[SSL_VERSION] == b"TLSv1.3"


@pytest.fixture(scope="module")
def receiver(
    daemons: Daemons, put_before: PutBefore, free_port: FreePort, server_pem: Path
) -> Iterator[tuple[Recorder, Before]]:
    """Hitch behind the proxy, and what is behind hitch."""
    port = free_port()
    recorder = Recorder()
    start_hitch(daemons, ["127.0.0.1"], port, recorder.port, server_pem, "proxy-proxy = on")
    yield recorder, put_before(port)
    recorder.close()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_hitch_learns_the_client_from_us_and_passes_it_on(
    version: str, family: str, receiver: tuple[Recorder, Before], server_pem: Path
) -> None:
    recorder, before = receiver
    payload = fresh_payload()
    with before.client(version, family) as (client, known_by):
        with over_tls(client, server_pem) as encrypted:
            encrypted.sendall(payload)
            assert hear_all(encrypted).endswith(b"heard")
        assert recorder.wait_for_payload(payload).header.source == known_by
