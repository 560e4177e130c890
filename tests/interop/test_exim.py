"""Exim behind the proxy, with ``hosts_proxy``."""

import pytest

from tests.interop.aside import unpack_exim
from tests.interop.daemons import Daemon, Daemons
from tests.interop.mail import Mail
from tests.interop.ways import FAMILIES, VERSIONS, Before, FreePort, PutBefore

pytestmark = [pytest.mark.linux, pytest.mark.daemon("apt-get", "dpkg")]

CONFIG = """\
exim_path = {exim}
spool_directory = {folder}/spool
log_file_path = {folder}/%s.log
log_selector = +proxy +incoming_port +smtp_connection
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
hosts_proxy = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
acl_smtp_connect = accept
smtp_banner = client=$sender_host_address:$sender_host_port, through $proxy_local_address
"""


@pytest.fixture(scope="module")
def exim(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> tuple[Daemon, Before]:
    """An Exim that greets its clients with their addresses, and the way to it."""
    folder = daemons.folder()
    port = free_port()
    unpacked = unpack_exim(folder)
    (folder / "exim.conf").write_text(CONFIG.format(exim=unpacked.program, folder=folder, port=port))
    started = daemons.start(
        "exim",
        *(unpacked.program, "-C", folder / "exim.conf", "-bdf"),
        folder=folder,
        ports=[port],
        env=unpacked.environment,
    )
    return started, put_before(port)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_exim_learns_the_client_from_us(version: str, family: str, exim: tuple[Daemon, Before]) -> None:
    daemon, way = exim
    with way.client(version, family) as (client, (address, port)):
        mail = Mail(client)
        assert mail.greeting == f"220 client={address}:{port}, through 127.0.0.1\r\n"
        assert mail.ask("EHLO client.test").startswith(f"250-exim.test Hello client.test [{address}]\r\n")
        mail.ask("QUIT")
    daemon.wait_for(f"SMTP connection from (client.test) [{address}]:{port} closed by QUIT", "main.log")
