"""PostgreSQL behind the validator ``postgresql``, with its own client: in the clear, encrypted, refused."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort, dial, hear_all
from tests.loopback.conftest import StartProxy, wait_until
from tests.loopback.servers import ANSWER_S

pytestmark = [pytest.mark.linux, pytest.mark.daemon("initdb", "postgres", "psql", "setpriv")]

ENVIRONMENT = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "PGCONNECT_TIMEOUT": "10", "PGGSSENCMODE": "disable"}
STARTUP = b"\0\0\0\x22\0\x03\0\0user\0alice\0database\0shop\0\0"
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


def as_its_user() -> list[str]:
    """What to put before its programs, which refuse to run as root."""
    return [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


class Servers(NamedTuple):
    """The ports of two: one that does not encrypt, and one that does."""

    plain: int
    encrypting: int


def start(daemons: Daemons, cluster: Path, port: int, *settings: str) -> int:
    options = [word for setting in (f"port={port}", "unix_socket_directories=", *settings) for word in ("-c", setting)]
    command = [*as_its_user(), "postgres", "-D", str(cluster), "-F", "-h", "127.0.0.1", *options]
    daemons.start(f"postgres-{port}", *command, folder=cluster, ports=[port])
    return port


@pytest.fixture(scope="module")
def servers(daemons: Daemons, free_port: FreePort, server_pem: Path) -> Servers:
    folder = daemons.folder()
    cluster, other = folder / "plain", folder / "encrypting"
    cluster.mkdir()
    if not os.geteuid():
        shutil.chown(cluster, "postgres", "postgres")
    make = ["initdb", "-D", str(cluster), "-U", "alice", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"]
    subprocess.run([*as_its_user(), *make], check=True, timeout=60, env=ENVIRONMENT, capture_output=True, cwd=folder)
    subprocess.run(["cp", "-a", str(cluster), str(other)], check=True, timeout=30)
    key = other / "server.pem"
    shutil.copy(server_pem, key)
    key.chmod(0o600)
    if not os.geteuid():
        shutil.chown(key, "postgres", "postgres")
    plain = start(daemons, cluster, free_port())
    encrypting = start(daemons, other, free_port(), "ssl=on", f"ssl_cert_file={key}", f"ssl_key_file={key}")
    made = Servers(plain, encrypting)
    for port in made:
        assert psql(port, "create database shop", database="postgres") == "CREATE DATABASE\n"
    return made


@pytest.fixture(scope="module")
def doors(servers: Servers, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    listed = {"use": "postgresql", "allowed_users": ["alice"], "allowed_databases": ["shop"]}
    strict = {"use": "postgresql", "require_ssl": True}
    return FrontDoors(
        module_proxy,
        free_port,
        {
            "plain": Door(["postgresql"], servers.plain),
            "encrypting": Door(["postgresql"], servers.encrypting),
            "strict": Door([strict], servers.encrypting),
            "strict-plain": Door([strict], servers.plain),
            "listed": Door([listed], servers.plain),
            "listed-encrypting": Door([listed], servers.encrypting),
        },
    )


def psql(port: int, query: str, database: str = "shop", user: str = "alice", mode: str = "prefer") -> str:
    """What PostgreSQL's own client shows of a query."""
    where = f"host=127.0.0.1 port={port} user={user} dbname={database} sslmode={mode}"
    done = subprocess.run(
        ["psql", "-X", "-w", "-At", "-d", where, "-c", query],
        timeout=ANSWER_S * 2,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "mode", "encrypted"),
    [
        ("plain", "disable", "f"),
        ("plain", "prefer", "f"),
        ("encrypting", "disable", "f"),
        ("encrypting", "prefer", "t"),
        ("encrypting", "require", "t"),
        ("strict", "prefer", "t"),
        ("listed", "prefer", "f"),
    ],
)
def test_a_client_is_served(name: str, mode: str, encrypted: str, doors: FrontDoors) -> None:
    query = "select ssl, length(repeat('x', 200000)) from pg_stat_ssl where pid = pg_backend_pid()"
    assert psql(doors.ports[name], query, mode=mode) == f"{encrypted}|200000\n"


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("strict", "disable", "encryption is required"),
        ("strict-plain", "prefer", "encryption is required"),
        # What a server says instead of yes or no, clients do not show since CVE-2024-10977.
        ("listed-encrypting", "require", "error response during SSL exchange"),
    ],
)
def test_encryption_is_required_or_not_allowed(name: str, mode: str, told: str, doors: FrontDoors) -> None:
    assert told in psql(doors.ports[name], "select 1", mode=mode)


@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_who_or_what_is_not_listed_is_refused_and_told(mode: str, doors: FrontDoors) -> None:
    port = doors.ports["listed"]
    assert "this user is not allowed here" in psql(port, "select 1", user="bob", mode=mode)
    assert "this database is not allowed here" in psql(port, "select 1", database="postgres", mode=mode)


def test_a_query_is_cancelled_through_us(doors: FrontDoors, servers: Servers) -> None:
    where = f"host=127.0.0.1 port={doors.ports['plain']} user=alice dbname=shop"
    command = ["psql", "-X", "-w", "-d", where, "-c", "select pg_sleep(600)"]
    running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'"
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as client:
        try:
            wait_until(lambda: psql(servers.plain, running) == "1\n", "the query runs")
            client.send_signal(signal.SIGINT)
            _, errors = client.communicate(timeout=ANSWER_S)
        finally:
            client.kill()
    assert b"canceling statement due to user request" in errors


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "postgresql-length"),
        (b"\0\0\0\x09\0\x02\0\0\0", "postgresql-version"),
        (b"\0\0\0\x1d\0\x03\0\0user\0alice\0user\0bob\0\0", "postgresql-repeated"),
        (SSL_REQUEST + STARTUP, "postgresql-early"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("plain", said)
    assert told == f"validator postgresql: {reason}"
    assert (b"C08P01" in heard) == (reason != "postgresql-length")


def test_a_rude_client_is_refused_behind_the_servers_no(doors: FrontDoors) -> None:
    with dial(doors.ports["listed"]) as client:
        client.sendall(SSL_REQUEST)
        assert client.recv(1) == b"N"
        client.sendall(STARTUP.replace(b"alice", b"carol"))
        assert b"this user is not allowed here" in hear_all(client)
