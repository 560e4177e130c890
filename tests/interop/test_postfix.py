"""Postfix behind the proxy: its smtpd and its postscreen receive PROXY headers."""

import shutil
import subprocess

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemon, Daemons
from tests.interop.mail import Mail
from tests.interop.ways import FAMILIES, VERSIONS, Before, FreePort, PutBefore

# Its master process runs as root, and gives up root for a user of its own in each of the others.
pytestmark = [pytest.mark.linux, pytest.mark.root, pytest.mark.daemon("postfix")]

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
# Nobody but the clients of the tests is known: who is taken for somebody else is refused, and waits in postscreen.
mynetworks = 127.0.0.77/32 [2001:db8::77]/128
smtpd_client_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions = reject
smtpd_delay_reject = no
smtpd_client_port_logging = yes
smtpd_peername_lookup = no
alias_maps =
alias_database =
local_recipient_maps =
postscreen_access_list = permit_mynetworks, reject
postscreen_cache_map =
"""
MASTER = """\
127.0.0.1:{smtpd} inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy
127.0.0.1:{postscreen} inet n - n - 1 postscreen -o postscreen_upstream_proxy_protocol=haproxy
smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@pytest.fixture(scope="module")
def postfix(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> tuple[Daemon, dict[str, Before]]:
    """A Postfix, and the ways to its two listeners."""
    folder = daemons.folder()
    ports = {"smtpd": free_port(), "postscreen": free_port()}
    for name in ("queue", "data", "etc"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder))
    (folder / "etc" / "master.cf").write_text(MASTER.format(**ports))
    subprocess.run(["postfix", "-c", folder / "etc", "check"], check=True, timeout=30, env={"PATH": SYSTEM_PATH})
    find = ["postconf", "-c", str(folder / "etc"), "-hx", "daemon_directory"]
    found = subprocess.run(find, check=True, timeout=30, env={"PATH": SYSTEM_PATH}, capture_output=True, text=True)
    # Not "postfix start-fg": that leaves its master process behind when it is ended.
    master = f"{found.stdout.strip()}/master"
    started = daemons.start("postfix", master, "-c", folder / "etc", "-d", folder=folder, ports=[*ports.values()])
    return started, {name: put_before(port) for name, port in ports.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("listener", ["smtpd", "postscreen"])
def test_postfix_learns_the_client_from_us(
    listener: str, version: str, family: str, postfix: tuple[Daemon, dict[str, Before]]
) -> None:
    daemon, ways = postfix
    with ways[listener].client(version, family) as (client, (address, port)):
        mail = Mail(client)
        assert mail.greeting.startswith("220 postfix.test")
        assert mail.ask("EHLO client.test").startswith("250")
        assert mail.ask("QUIT").startswith("221")
    if listener == "postscreen":
        daemon.wait_for(f"CONNECT from [{address}]:{port} to [", "mail.log")
    daemon.wait_for(f"disconnect from unknown[{address}]:{port} ehlo=1 quit=1", "mail.log")
