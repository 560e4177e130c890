"""Postfix behind the guard of SMTP commands: mail goes through, forbidden commands do not."""

import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemon, Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.mail import Mail
from tests.interop.ways import FreePort, dial
from tests.loopback.conftest import StartProxy
from tests.loopback.servers import ANSWER_S

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
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {folder}/server.pem
smtpd_tls_key_file = {folder}/server.pem
alias_maps =
alias_database =
local_recipient_maps =
default_transport = discard
"""
MASTER = """\
127.0.0.1:{smtpd} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
discard unix - - n - - discard
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@pytest.fixture(scope="module")
def postfix(daemons: Daemons, free_port: FreePort, server_pem: Path) -> tuple[Daemon, int]:
    folder, port = daemons.folder(), free_port()
    for name in ("queue", "data", "etc"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    shutil.copy(server_pem, folder / "server.pem")
    (folder / "server.pem").chmod(0o600)
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder))
    (folder / "etc" / "master.cf").write_text(MASTER.format(smtpd=port))
    subprocess.run(["postfix", "-c", folder / "etc", "check"], check=True, timeout=30, env={"PATH": SYSTEM_PATH})
    find = ["postconf", "-c", str(folder / "etc"), "-hx", "daemon_directory"]
    found = subprocess.run(find, check=True, timeout=30, env={"PATH": SYSTEM_PATH}, capture_output=True, text=True)
    # Not "postfix start-fg": that leaves its master process behind when it is ended.
    master = f"{found.stdout.strip()}/master"
    started = daemons.start("postfix", master, "-c", folder / "etc", "-d", folder=folder, ports=[port])
    return started, port


@pytest.fixture(scope="module")
def doors(postfix: tuple[Daemon, int], module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    guard = {"use": "smtp_commands", "deny": ["VRFY", "EXPN", "ETRN"]}
    clear = {**guard, "after_starttls": "refuse"}
    port = postfix[1]
    return FrontDoors(
        module_proxy, free_port, {"guarded": Door(["smtp", guard], port), "clear": Door(["smtp", clear], port)}
    )


@pytest.fixture
def mailer(doors: FrontDoors) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", doors.ports["guarded"], "client.test", timeout=ANSWER_S)


TEXT = "Subject: VRFY\r\n\r\nVRFY root\r\n.\r\nEXPN all\r\n" + "x" * 900 + "\r\n"


def test_mail_goes_through_whatever_is_in_it(mailer: smtplib.SMTP, postfix: tuple[Daemon, int]) -> None:
    with mailer:
        for number in range(3):
            name = f"r{number}@there.test"
            assert not mailer.sendmail("s@here.test", [name, f"other-{name}"], TEXT * (1 + number * 100))
    for number in range(3):
        postfix[0].wait_for(f"to=<r{number}@there.test>, relay=none", "mail.log")


def test_mail_that_is_sent_in_chunks_and_pipelines_goes_through(doors: FrontDoors, postfix: tuple[Daemon, int]) -> None:
    text = TEXT.encode()
    with dial(doors.ports["guarded"]) as client:
        mail = Mail(client)
        assert "CHUNKING" in mail.ask("EHLO client.test")
        client.sendall(b"MAIL FROM:<s@here.test>\r\nRCPT TO:<chunks@there.test>\r\n")
        client.sendall(b"BDAT %d\r\n" % len(text) + text + b"BDAT %d LAST\r\n" % len(text) + text + b"NOOP\r\n")
        answers = b""
        while not answers.endswith(b"2.0.0 Ok\r\n") or b"queued as" not in answers:
            answers += client.recv(4096)
        assert answers.count(b"\r\n") == 5
    postfix[0].wait_for("to=<chunks@there.test>, relay=none", "mail.log")


def test_mail_goes_through_encrypted(mailer: smtplib.SMTP, postfix: tuple[Daemon, int], server_pem: Path) -> None:
    context = ssl.create_default_context(cafile=server_pem)
    context.check_hostname = False
    with mailer:
        assert mailer.starttls(context=context)[0] == 220
        assert not mailer.sendmail("s@here.test", ["secret@there.test"], TEXT)
        assert mailer.verify("root")[0] == 252  # nobody reads along any more
    postfix[0].wait_for("to=<secret@there.test>, relay=none", "mail.log")


@pytest.mark.parametrize("command", ["VRFY root", "vrfy root", "EXPN all", "ETRN there.test"])
def test_a_denied_command_is_refused_and_told(command: str, mailer: smtplib.SMTP) -> None:
    mailer.ehlo()
    assert mailer.docmd(command) == (554, f"5.7.1 {command[:4].upper()} not allowed".encode())
    with pytest.raises(smtplib.SMTPServerDisconnected):
        mailer.noop()


def test_without_the_guard_the_server_answers_it(postfix: tuple[Daemon, int]) -> None:
    with smtplib.SMTP("127.0.0.1", postfix[1], "client.test", timeout=ANSWER_S) as direct:
        assert direct.verify("root")[0] == 252


def test_starttls_can_be_refused(doors: FrontDoors) -> None:
    with dial(doors.ports["clear"]) as client:
        mail = Mail(client)
        mail.ask("EHLO client.test")
        assert mail.ask("STARTTLS") == "454 4.7.0 TLS not available\r\n"
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"EHLO x\r\nVRFY root\r\n", "smtp-early"),
        (b"NOOP\nVRFY root\r\n", "smtp-line-end"),
        (b"BDAT 11\r\nVRFY root\r\n", "smtp-chunking"),
        (b"NOOP\r\n VRFY root\r\n", "smtp-command"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("guarded", said, first=b"\r\n")
    assert told in (f"validator smtp_commands: {reason}", f"validator smtp: {reason}", "validator smtp: smtp-command")
    assert b"252" not in heard


def test_a_message_that_other_programs_end_earlier_is_refused(doors: FrontDoors) -> None:
    with dial(doors.ports["guarded"]) as client:
        mail = Mail(client)
        mail.ask("EHLO client.test")
        mail.ask("MAIL FROM:<s@here.test>")
        mail.ask("RCPT TO:<smuggled@there.test>")
        assert mail.ask("DATA").startswith("354")
        assert mail.ask("text\r\n.\nVRFY root") == "554 5.5.2 protocol error: smtp-message-end\r\n"
