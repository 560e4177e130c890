"""OpenSSH through the validator ``ssh``, and beside HTTP and TLS on one port."""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort, dial, hear_all
from tests.interop.web_servers import start_nginx

if TYPE_CHECKING:
    from tests.loopback.conftest import Proxy, StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("sshd", "ssh", "ssh-keygen", "nginx", "curl")]

# What is sent comes back, so that a client can tell whether all of it went through.
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
ForceCommand cat
LogLevel VERBOSE
"""
NGINX = """\
    access_log off;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        location / {{ return 200 "over $scheme"; }}
    }}
"""


class Sshd(NamedTuple):
    """A running server. ``folder``: with the keys of both sides."""

    port: int
    folder: Path


@pytest.fixture(scope="module")
def sshd(daemons: Daemons, free_port: FreePort) -> Sshd:
    folder, port = daemons.folder(), free_port()
    for name in ("host", "client"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True, timeout=30)
    (folder / "sshd_config").write_text(SSHD.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it insists, and Debian makes it only when it starts the service
    program = shutil.which("sshd", path=SYSTEM_PATH)
    assert program is not None
    daemons.start("sshd", program, "-D", "-e", "-f", folder / "sshd_config", folder=folder, ports=[port])
    return Sshd(port, folder)


@pytest.fixture(scope="module")
def ports(free_port: FreePort) -> dict[str, int]:
    return {name: free_port() for name in ("waits", "server-first", "all")}


@pytest.fixture(scope="module")
def web(daemons: Daemons, free_port: FreePort, server_pem: Path) -> dict[str, int]:
    """The ports of a web server, by what it speaks there."""
    plain, secure = free_port(), free_port()
    config = NGINX.format(plain=plain, secure=secure, pem=server_pem)
    start_nginx(daemons, daemons.folder(), config, plain, secure)
    return {"http1": plain, "tls": secure}


@pytest.fixture(scope="module")
def proxy(module_proxy: "StartProxy", sshd: Sshd, web: dict[str, int], ports: dict[str, int]) -> "Proxy":
    routes = [{"facts": {"protocol": name}, "backend": name} for name in ("ssh", "tls")]
    validators: dict[str, list[object]] = {
        "waits": ["ssh"],
        "server-first": [{"use": "ssh", "server_first": True}],
        "all": [{"any_of": ["tls", "ssh", "http1"]}],
    }
    return module_proxy(
        {
            "frontends": {
                name: {
                    "bind": f"127.0.0.1:{ports[name]}",
                    "validators": validators[name],
                    "backend": "http1" if name == "all" else "ssh",
                    **({"routes": routes} if name == "all" else {}),
                }
                for name in ports
            },
            "backends": {
                "ssh": {"servers": {"sshd": f"127.0.0.1:{sshd.port}"}},
                "tls": {"servers": {"nginx": f"127.0.0.1:{web['tls']}"}},
                "http1": {"servers": {"nginx": f"127.0.0.1:{web['http1']}"}},
            },
        }
    )


def ssh(server: Sshd, port: int, said: bytes) -> bytes:
    """What comes back when OpenSSH's client logs in through ``port`` and says that."""
    options = [
        *("-F", "none", "-T", "-p", str(port), "-i", str(server.folder / "client")),
        *("-o", f"UserKnownHostsFile={server.folder}/known", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
    ]
    command = ["ssh", *options, f"{getpass.getuser()}@127.0.0.1"]
    done = subprocess.run(command, input=said, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def records(proxy: "Proxy", frontend: str, count: int = 1) -> list[dict[str, object]]:
    """Wait for so many records of a frontend; returns all."""
    total = 1
    while True:
        found = proxy.records(total)
        ours = [record for record in found if record["frontend"] == frontend]
        if len(ours) >= count:
            return ours
        total = len(found) + 1


@pytest.mark.parametrize("frontend", ["waits", "server-first", "all"])
def test_openssh_logs_in_and_its_data_come_back_whole(
    frontend: str, proxy: "Proxy", sshd: Sshd, ports: dict[str, int]
) -> None:
    said = os.urandom(1 << 20)
    assert ssh(sshd, ports[frontend], said) == said


def test_a_client_that_waits_for_the_server_hears_it(proxy: "Proxy", ports: dict[str, int]) -> None:
    with dial(ports["server-first"]) as client:
        assert client.recv(4) == b"SSH-"
        client.sendall(b"SSH-2.0-waits\r\n")
        client.shutdown(socket.SHUT_WR)
        assert b"\r\n" in hear_all(client)


@pytest.mark.parametrize("frontend", ["waits", "server-first"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "ssh-identification"),
        (b"SSH-1.5-ancient\r\n", "ssh-version"),
        (b"SSH-2.0-" + b"x" * 300, "ssh-line-long"),
    ],
)
def test_who_speaks_something_else_is_refused(
    frontend: str, said: bytes, reason: str, proxy: "Proxy", ports: dict[str, int]
) -> None:
    before = len(records(proxy, frontend, 0)) if proxy.log.exists() else 0
    with dial(ports[frontend]) as client:
        client.sendall(said)
        heard = hear_all(client)
    # Who does not wait may have been greeted, and no more.
    assert heard == b"" or (frontend == "server-first" and heard.count(b"\r\n") == 1)
    record = records(proxy, frontend, before + 1)[-1]
    assert record["reason"] == f"validator ssh: {reason}"


def test_ssh_http_and_tls_are_told_apart_on_one_port(
    proxy: "Proxy", sshd: Sshd, ports: dict[str, int], server_pem: Path
) -> None:
    port = ports["all"]
    assert ssh(sshd, port, b"over ssh") == b"over ssh"
    for scheme in ("http", "https"):
        resolve = ["--cacert", str(server_pem), "--resolve", f"server.test:{port}:127.0.0.1"]
        command = ["curl", "-sS", "--http1.1", *resolve, f"{scheme}://server.test:{port}/"]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        assert done.stdout.decode() == f"over {scheme}", done.stderr.decode()


def test_who_speaks_none_of_them_is_refused(proxy: "Proxy", ports: dict[str, int]) -> None:
    with dial(ports["all"]) as client:
        client.sendall(b"EHLO me\r\n")
        heard = hear_all(client)
    assert heard.startswith(b"HTTP/1.1 400 ") or heard == b""
