"""Postfix, Dovecot and vsftpd behind the validators of protocols in which the server speaks first."""

import ftplib
import imaplib
import poplib
import shutil
import smtplib
import subprocess

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort
from tests.loopback.conftest import DEADLINE_S, StartProxy

# All of them begin as root, and give it up for users of their own.
pytestmark = [pytest.mark.linux, pytest.mark.root, pytest.mark.daemon("postfix", "dovecot", "vsftpd")]

HOST = "127.0.0.1"
NAMES = ("smtp", "imap", "pop3", "ftp")
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = reject
smtpd_peername_lookup = no
smtpd_banner = $myhostname ESMTP
alias_maps =
alias_database =
local_recipient_maps =
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
DOVECOT = """\
base_dir = {folder}/run
log_path = {folder}/dovecot.log
listen = 127.0.0.1
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail
first_valid_uid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""
VSFTPD = """\
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
anon_root={folder}/files
secure_chroot_dir={folder}/empty
ftp_username=ftp
xferlog_enable=NO
seccomp_sandbox=NO
ftpd_banner=welcome
banner_file={folder}/banner
"""


def start_postfix(daemons: Daemons, port: int) -> None:
    folder = daemons.folder()
    for name in ("queue", "data", "etc"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder))
    (folder / "etc" / "master.cf").write_text(MASTER.format(port=port))
    environment = {"PATH": SYSTEM_PATH}
    subprocess.run(["postfix", "-c", folder / "etc", "check"], check=True, timeout=30, env=environment)
    find = ["postconf", "-c", str(folder / "etc"), "-hx", "daemon_directory"]
    found = subprocess.run(find, check=True, timeout=30, env=environment, capture_output=True, text=True)
    master = f"{found.stdout.strip()}/master"
    daemons.start("postfix", master, "-c", folder / "etc", "-d", folder=folder, ports=[port])


def start_dovecot(daemons: Daemons, imap: int, pop3: int) -> None:
    folder = daemons.folder()
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "mail", "mail")
    (folder / "dovecot.conf").write_text(DOVECOT.format(folder=folder, imap=imap, pop3=pop3))
    daemons.start("dovecot", "dovecot", "-F", "-c", folder / "dovecot.conf", folder=folder, ports=[imap, pop3])


def start_vsftpd(daemons: Daemons, port: int) -> None:
    folder = daemons.folder()
    for name in ("files", "empty"):
        (folder / name).mkdir()
    (folder / "banner").write_text("some lines\nbefore the last\n")
    (folder / "vsftpd.conf").write_text(VSFTPD.format(folder=folder, port=port))
    daemons.start("vsftpd", "vsftpd", folder / "vsftpd.conf", folder=folder, ports=[port])


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    servers = {name: free_port() for name in NAMES}
    start_postfix(daemons, servers["smtp"])
    start_dovecot(daemons, servers["imap"], servers["pop3"])
    start_vsftpd(daemons, servers["ftp"])
    doors = {name: Door([name], servers[name]) for name in NAMES}
    doors["shared"] = Door([{"any_of": ["tls", "smtp"]}], servers["smtp"], inspect="300ms")
    doors["wrong"] = Door(["smtp"], servers["imap"])
    return FrontDoors(module_proxy, free_port, doors)


def test_a_client_of_smtp_is_served(doors: FrontDoors) -> None:
    with smtplib.SMTP(HOST, doors.ports["smtp"], "client.test", timeout=DEADLINE_S) as client:
        assert client.ehlo()[0] == 250
        assert client.docmd("MAIL", "FROM:<me@client.test>")[0] == 250
        assert client.docmd("RCPT", "TO:<you@client.test>")[0] == 554


def test_a_client_of_imap_is_served(doors: FrontDoors) -> None:
    with imaplib.IMAP4(HOST, doors.ports["imap"], timeout=DEADLINE_S) as client:
        assert client.login("me", "secret")[0] == "OK"
        assert client.append("INBOX", "", "", b"Subject: one\r\n\r\n" + b"x" * 100_000)[0] == "OK"
        assert client.select()[1] == [b"1"]
        fetched = client.fetch("1", "(RFC822.TEXT)")[1][0]
        assert isinstance(fetched, tuple)
        assert fetched[1] == b"x" * 100_000


def test_a_client_of_pop3_is_served(doors: FrontDoors) -> None:
    client = poplib.POP3(HOST, doors.ports["pop3"], timeout=DEADLINE_S)
    client.user("you")
    assert client.pass_("secret").startswith(b"+OK")
    assert client.quit().startswith(b"+OK")


def test_a_client_of_ftp_is_served(doors: FrontDoors) -> None:
    with ftplib.FTP(timeout=DEADLINE_S) as client:
        assert "before the last" in client.connect(HOST, doors.ports["ftp"])
        assert client.login().startswith("230")
        assert client.pwd() == "/"


def test_who_says_nothing_is_taken_for_a_client_of_the_one_protocol_in_which_the_server_speaks_first(
    doors: FrontDoors,
) -> None:
    with smtplib.SMTP(HOST, doors.ports["shared"], "client.test", timeout=DEADLINE_S) as client:
        assert client.ehlo()[0] == 250
    heard, reason = doors.refused("shared", COMMANDS["smtp"])
    assert heard == REFUSALS["smtp"]
    assert reason.endswith("validator smtp: smtp-before-greeting")


REFUSALS = {
    "smtp": b"554 5.5.1 Protocol error\r\n",
    "imap": b"* BYE protocol error\r\n",
    "pop3": b"-ERR protocol error\r\n",
    "ftp": b"421 Protocol error\r\n",
}
COMMANDS = {"smtp": b"EHLO me\r\n", "imap": b"a NOOP\r\n", "pop3": b"CAPA\r\n", "ftp": b"USER x\r\n"}


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_wait_for_the_greeting_is_refused(name: str, doors: FrontDoors) -> None:
    heard, reason = doors.refused(name, COMMANDS[name])
    assert reason == f"validator {name}: {name}-before-greeting"
    assert heard == REFUSALS[name]


@pytest.mark.parametrize("name", NAMES)
def test_who_speaks_http_is_refused_before_the_server_hears_it(name: str, doors: FrontDoors) -> None:
    heard, reason = doors.refused(name, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", first=b"\r\n")
    assert reason == f"validator {name}: {name}-command"
    assert heard == REFUSALS[name]


def test_a_server_that_speaks_something_else_is_not_heard(doors: FrontDoors) -> None:
    assert doors.refused("wrong", b"") == (REFUSALS["smtp"], "validator smtp: smtp-greeting")
