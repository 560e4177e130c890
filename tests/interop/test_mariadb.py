"""MariaDB behind the validator ``mysql``, with its own client: in the clear, over TLS, refused."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort
from tests.loopback.conftest import StartProxy
from tests.loopback.servers import ANSWER_S

pytestmark = [pytest.mark.linux, pytest.mark.daemon("mariadbd", "mariadb-install-db", "mariadb")]

ACCOUNTS = """\
CREATE DATABASE shop;
CREATE USER alice@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON shop.* TO alice@'127.0.0.1';
"""


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort, server_pem: Path) -> FrontDoors:
    folder, port = daemons.folder(), free_port()
    data, sql, pem = folder / "data", folder / "accounts.sql", folder / "server.pem"
    sql.write_text(ACCOUNTS)
    pem.write_bytes(server_pem.read_bytes())
    ours = ["--no-defaults", f"--datadir={data}", *([] if os.geteuid() else ["--user=mysql"])]
    make = ["mariadb-install-db", *ours, "--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run(make, check=True, timeout=120, env={"PATH": SYSTEM_PATH}, capture_output=True, cwd=folder)
    options = [
        *(f"--port={port}", "--bind-address=127.0.0.1", f"--socket={data}/socket", f"--pid-file={data}/pid"),
        *(f"--init-file={sql}", "--skip-name-resolve", f"--ssl-cert={pem}", f"--ssl-key={pem}"),
        *("--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"),
    ]
    daemons.start("mariadbd", "mariadbd", *ours, *options, folder=folder, ports=[port])
    strict = {"use": "mysql", "require_ssl": True}
    return FrontDoors(module_proxy, free_port, {"mysql": Door(["mysql"], port), "strict": Door([strict], port)})


def ask(port: int, query: str, *options: str, password: str = "secret") -> str:
    """What MariaDB's own client shows of a query."""
    command = ["mariadb", "--no-defaults", "--protocol=TCP", "-h127.0.0.1", f"-P{port}", "-ualice", *options]
    done = subprocess.run(
        [*command, f"-p{password}", "-BN", "-e", query, "shop"],
        timeout=ANSWER_S * 2,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


CIPHER = "select variable_value <> '' from information_schema.session_status where variable_name = 'Ssl_cipher'"


@pytest.mark.parametrize(
    ("name", "options", "encrypted"),
    [
        ("mysql", ["--skip-ssl"], "0"),
        ("mysql", ["--ssl"], "1"),
        ("mysql", ["--compress", "--skip-ssl"], "0"),
        ("strict", ["--ssl"], "1"),
    ],
)
def test_a_client_is_served(name: str, options: list[str], encrypted: str, doors: FrontDoors) -> None:
    assert ask(doors.ports[name], CIPHER, *options) == f"{encrypted}\n"
    assert ask(doors.ports[name], "select length(repeat('x', 200000))", *options) == "200000\n"


def test_a_wrong_password_is_the_servers_to_refuse(doors: FrontDoors) -> None:
    assert "Access denied for user 'alice'" in ask(doors.ports["mysql"], "select 1", password="wrong")


def test_who_does_not_encrypt_is_refused_and_told(doors: FrontDoors) -> None:
    assert "ERROR 3159" in ask(doors.ports["strict"], "select 1", "--skip-ssl")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "mysql-length"),
        (b"\x20\0\0\x01\x05\xae\x03\0" + bytes(28) + b"GET / HTTP/1.1\r\n", "mysql-no-tls"),
        (b"\x20\0\0\x02" + bytes(32), "mysql-sequence"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("mysql", said, first=b"mysql_native_password\0")
    assert told == f"validator mysql: {reason}"
    assert (heard[4:7] == b"\xff\x13\x04") == (reason != "mysql-no-tls")


def test_a_client_that_speaks_first_is_refused(doors: FrontDoors) -> None:
    said = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    refused = set()
    for _ in range(10):
        heard, told = doors.refused("mysql", said)
        assert told in ("validator mysql: mysql-early", "validator mysql: mysql-length")
        refused.add(heard[-13:])
    assert refused == {b"Bad handshake"}
