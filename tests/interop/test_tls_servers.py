"""Servers of other libraries behind ``tls``: they answer with a ServerHello, or an alert if they dislike a client."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.daemons import Daemons

pytestmark = [pytest.mark.linux, pytest.mark.daemon("openssl", "gnutls-serv", "gnutls-cli", "nginx", "node", "curl")]

NAME = "server.test"
DEADLINE_S = 20
NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        ssl_protocols TLSv1.2 TLSv1.3;
        return 200 "nginx\\n";
    }}
}}
"""
NODE = """const [port, pem] = process.argv.slice(1);
const both = require('fs').readFileSync(pem);
require('https').createServer({key: both, cert: both}, (_, answer) => answer.end('node')).listen(port, '127.0.0.1');"""
SERVERS = ("openssl", "gnutls", "nginx", "node")


def server_command(name: str, port: int, pem: Path, folder: Path) -> list[str]:
    """The command that serves HTTPS on ``port``; every path of it is answered."""
    match name:
        case "openssl":
            return ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(pem), "-key", str(pem), "-www"]
        case "gnutls":
            keys = ["--x509certfile", str(pem), "--x509keyfile", str(pem)]
            return ["gnutls-serv", "--http", "--quiet", "--port", str(port), *keys]
        case "nginx":
            names = (
                "client_body_temp_path",
                "proxy_temp_path",
                "fastcgi_temp_path",
                "uwsgi_temp_path",
                "scgi_temp_path",
            )
            temporary = "\n".join(f"{one} {folder}/{one};" for one in names)
            values = {"user": "user root;", "folder": folder, "port": port, "pem": pem, "temporary": temporary}
            (folder / "nginx.conf").write_text(NGINX.format(**values))
            return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        case _:
            return ["node", "-e", NODE, str(port), str(pem)]


@pytest.fixture(scope="module")
def ports(daemons: Daemons, module_proxy: Any, free_port: Any, server_pem: Path) -> dict[str, int]:
    """The port of the proxy before each server."""
    before, frontends, backends = {}, {}, {}
    for name in SERVERS:
        folder, port = daemons.folder(), free_port()
        pem = folder / "server.pem"
        pem.write_bytes(server_pem.read_bytes())
        daemons.start(name, *server_command(name, port, pem, folder), folder=folder, ports=[port])
        before[name] = free_port()
        frontends[name] = {"bind": f"127.0.0.1:{before[name]}", "validators": ["tls"], "backend": name}
        backends[name] = {"servers": {"a": f"127.0.0.1:{port}"}}
    module_proxy({"frontends": frontends, "backends": backends})
    return before


def run(*words: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=said, capture_output=True, timeout=DEADLINE_S, check=False)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("options", [[], ["--tls-max", "1.2"], ["--tlsv1.3"], ["--curves", "P-521"]])
def test_curl_is_served(ports: dict[str, int], name: str, options: list[str]) -> None:
    reach = ["--connect-to", f"{NAME}:443:127.0.0.1:{ports[name]}", f"https://{NAME}/"]
    done = run("curl", "-sSk", "--noproxy", "*", "--max-time", str(DEADLINE_S), *options, *reach)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("priority", ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-GROUP-ALL:+GROUP-SECP384R1"])
def test_gnutls_is_served(ports: dict[str, int], name: str, priority: str) -> None:
    words = ["gnutls-cli", "--insecure", "--sni-hostname", NAME, "--priority", priority, "--port", str(ports[name])]
    done = run(*words, "127.0.0.1", said=b"GET / HTTP/1.0\r\n\r\n")
    assert b"Handshake was completed" in done.stdout


@pytest.mark.parametrize("name", SERVERS)
def test_an_alert_of_the_server_reaches_the_client(ports: dict[str, int], name: str) -> None:
    words = ["-connect", f"127.0.0.1:{ports[name]}", "-servername", NAME, "-tls1_2", "-cipher", "PSK", "-psk", "00"]
    done = run("openssl", "s_client", *words)
    assert b"alert handshake failure" in done.stderr
