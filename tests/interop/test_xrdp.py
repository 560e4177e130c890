"""xrdp behind the validator ``rdp``: what is negotiated, and the TLS that was agreed on."""

import socket
import ssl
from pathlib import Path

import pytest

from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort, dial, hear_all
from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("xrdp")]

CONFIG = """\
[Globals]
ini_version=1
fork=true
port=tcp://127.0.0.1:{port}
security_layer={layer}
crypt_level=high
certificate={folder}/server.pem
key_file={folder}/server.pem
ssl_protocols=TLSv1.2, TLSv1.3
[Logging]
LogFile={folder}/xrdp.log
LogLevel=INFO
EnableSyslog=false
[Xorg]
name=Xorg
lib=libxup.so
"""
TLS = bytes.fromhex("01 00 08 00 03 00 00 00")
PLAIN = bytes.fromhex("01 00 08 00 00 00 00 00")


def request(body: bytes) -> bytes:
    """A connection request, as clients send it (MS-RDPBCGR, section 4.1.1)."""
    return b"\x03\0" + (11 + len(body)).to_bytes(2, "big") + bytes([6 + len(body)]) + b"\xe0\0\0\0\0\0" + body


def start(daemons: Daemons, port: int, layer: str, server_pem: Path) -> int:
    folder = daemons.folder()
    (folder / "server.pem").write_bytes(server_pem.read_bytes())
    (folder / "xrdp.ini").write_text(CONFIG.format(port=port, layer=layer, folder=folder))
    daemons.start(f"xrdp-{layer}", "xrdp", "--nodaemon", "--config", folder / "xrdp.ini", folder=folder, ports=[port])
    return port


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort, server_pem: Path) -> FrontDoors:
    secure = start(daemons, free_port(), "tls", server_pem)
    old = start(daemons, free_port(), "rdp", server_pem)
    strict = {"use": "rdp", "require_tls": True}
    return FrontDoors(
        module_proxy,
        free_port,
        {"tls": Door(["rdp"], secure), "old": Door(["rdp"], old), "strict": Door([strict], old)},
    )


def confirmation(client: socket.socket) -> bytes:
    """The server's answer, whose length its third and fourth bytes say."""
    answer = client.recv(4, socket.MSG_WAITALL)
    return answer + client.recv(int.from_bytes(answer[2:4], "big") - 4, socket.MSG_WAITALL)


def test_tls_is_negotiated_and_spoken(doors: FrontDoors, server_pem: Path) -> None:
    context = ssl.create_default_context(cafile=server_pem)
    with dial(doors.ports["tls"]) as client:
        client.sendall(request(b"Cookie: mstshash=alice\r\n" + TLS))
        assert confirmation(client)[11:12] == b"\x02"
        with context.wrap_socket(client, server_hostname="server.test") as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_rdps_own_encryption_is_negotiated(doors: FrontDoors) -> None:
    with dial(doors.ports["old"]) as client:
        client.sendall(request(b"Cookie: mstshash=alice\r\n" + PLAIN))
        assert confirmation(client)[5] == 0xD0


def test_a_server_that_does_without_tls_is_refused_and_so_is_a_client(doors: FrontDoors) -> None:
    for said in (TLS, PLAIN):
        heard, told = doors.refused("strict", request(said))
        assert told == "validator rdp: rdp-unencrypted"
        assert heard[11:] == bytes.fromhex("03 00 08 00 01 00 00 00")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "rdp-tpkt"),
        (request(b"Cookie: mstshash=alice"), "rdp-cookie"),
        (request(TLS) + b"\x16\x03\x01", "rdp-early"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("tls", said)
    assert told == f"validator rdp: {reason}"
    assert heard[11:12] == (b"" if reason == "rdp-tpkt" else b"\x03")


def test_a_rude_client_is_refused_behind_the_confirmation(doors: FrontDoors) -> None:
    with dial(doors.ports["tls"]) as client:
        client.sendall(request(TLS))
        assert confirmation(client)[11:12] == b"\x02"
        client.sendall(b"\x03\0\0\x08\x02\xf0\x80\x7f")
        assert hear_all(client) == b""
