"""stunnel in front of the proxy: it takes TLS off and sends PROXY headers, of version 1 only."""

from pathlib import Path

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import SENDER, Behind, FreePort, dial, exchange, fresh_payload, over_tls
from tests.loopback.servers import has_ipv6, needs_ipv6

pytestmark = [pytest.mark.linux, pytest.mark.daemon("stunnel")]


@pytest.fixture(scope="module")
def stunnel(daemons: Daemons, behind: Behind, free_port: FreePort, server_pem: Path) -> int:
    """Stunnel in front of the proxy: its port."""
    folder = daemons.folder()
    port = free_port()
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    services = (
        f"[{host}]\naccept = {host}:{port}\nconnect = 127.0.0.1:{behind.port}\nlocal = {SENDER}\n"
        f"protocol = proxy\ncert = {server_pem}\n"
        for host in hosts
    )
    (folder / "stunnel.conf").write_text("foreground = yes\nsyslog = no\npid =\n" + "".join(services))
    daemons.start("stunnel", "stunnel", "stunnel.conf", folder=folder, ports=[port])
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_stunnel_tells_us_its_client(host: str, stunnel: int, behind: Behind, server_pem: Path) -> None:
    payload = fresh_payload()
    client = exchange(over_tls(dial(stunnel, host=host), server_pem), payload)
    behind.expect(payload, client, SENDER)
