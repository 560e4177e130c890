"""Real clients of TLS, each made to say its ClientHello to a socket that only listens; imported by tests, runs none."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from tests.conftest import SYSTEM_PATH
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello import read_client_hello

NAME = "www.example.org"
DEADLINE_S = 30
OLD = ("-cipher", "ALL:@SECLEVEL=0")
"""Debian's OpenSSL offers TLS 1.0 and 1.1 only so."""
NODE = """const [port, version] = process.argv.slice(1);
require('tls').connect({host: '127.0.0.1', port, servername: 'www.example.org', ALPNProtocols: ['h2', 'http/1.1'],
  rejectUnauthorized: false, ...(version ? {maxVersion: version} : {})}).on('error', () => {});"""
PYTHON = """import socket, ssl, sys
context = ssl.create_default_context()
context.set_alpn_protocols(["http/1.1"])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="www.example.org")"""


class Client(NamedTuple):
    """How to make a client connect: ``{port}`` and ``{folder}`` in ``words`` are filled in.

    ``version``: the highest that it must turn out to offer. ``names``: whether it says ``NAME``; ``alpn``: what else.
    """

    words: Sequence[str]
    version: str
    names: bool = True
    alpn: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """What has to be installed."""
        return self.words[0]


def _openssl(*options: str) -> list[str]:
    return ["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", NAME, *options]


def _curl(*options: str) -> list[str]:
    return ["curl", "-sk", "--noproxy", "*", *options, "--connect-to", "::127.0.0.1:{port}", f"https://{NAME}/"]


def _gnutls(priority: str, *options: str) -> list[str]:
    words = ["gnutls-cli", "--insecure", "--port", "{port}", "--priority", priority]
    return [*words, "--sni-hostname", NAME, *options, "127.0.0.1"]


def _nss(versions: str, *options: str) -> list[str]:
    return ["tstclnt", "-D", "-o", "-h", "127.0.0.1", "-p", "{port}", "-a", NAME, "-V", versions, *options]


WEB = ("h2", "http/1.1")
CLIENTS = {
    "openssl": Client(_openssl(), "1.3"),
    "openssl-1.3": Client(_openssl("-tls1_3", "-alpn", "h2,http/1.1"), "1.3", alpn=WEB),
    "openssl-1.2": Client(_openssl("-tls1_2"), "1.2"),
    "openssl-1.1": Client(_openssl("-tls1_1", *OLD), "1.1"),
    "openssl-1.0": Client(_openssl("-tls1", *OLD), "1.0"),
    "openssl-from-1.0": Client(_openssl("-min_protocol", "TLSv1", *OLD), "1.3"),
    "openssl-nameless": Client(["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-noservername"], "1.3", False),
    "openssl-much": Client(
        _openssl(
            "-status",
            "-nextprotoneg",
            "h2",
            "-maxfraglen",
            "1024",
            "-groups",
            "P-521:X448",
            "-use_srtp",
            "SRTP_AES128_CM_SHA1_80",
            "-legacy_renegotiation",
            "-max_protocol",
            "TLSv1.2",
        ),
        "1.2",
    ),
    "openssl-psk": Client(_openssl("-psk", "00112233445566778899aabbccddeeff", "-psk_identity", "who"), "1.3"),
    "openssl-without-ticket": Client(_openssl("-no_ticket", "-no_etm"), "1.3"),
    "openssl-fallback": Client(_openssl("-fallback_scsv", "-no_tls1_3"), "1.2"),
    "curl": Client(_curl(), "1.3", alpn=WEB),
    "curl-http1.1": Client(_curl("--http1.1"), "1.3", alpn=("http/1.1",)),
    "curl-1.2": Client(_curl("--tls-max", "1.2", "--no-alpn"), "1.2"),
    "gnutls": Client(_gnutls("NORMAL", "--alpn", "h2", "--alpn", "http/1.1"), "1.3", alpn=WEB),
    "gnutls-1.2": Client(_gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.2"), "1.2"),
    "gnutls-1.0": Client(_gnutls("LEGACY:-VERS-ALL:+VERS-TLS1.0"), "1.0"),
    "gnutls-secure": Client(_gnutls("SECURE256:%PROFILE_HIGH", "--recordsize", "1024"), "1.3"),
    "gnutls-bare": Client(_gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.1:%NO_EXTENSIONS"), "1.1", False),
    "nss": Client(_nss("tls1.2:tls1.3"), "1.3"),
    "nss-1.2": Client(_nss("tls1.2:tls1.2"), "1.2"),
    "nss-1.0": Client(_nss("tls1.0:tls1.0"), "1.0"),
    "wget": Client(["wget", "-q", "-t1", "--no-check-certificate", "https://localhost:{port}/"], "1.3", False),
    "node": Client(["node", "-e", NODE, "{port}"], "1.3", alpn=WEB),
    "node-1.2": Client(["node", "-e", NODE, "{port}", "TLSv1.2"], "1.2", alpn=WEB),
    "python": Client([sys.executable, "-c", PYTHON, "{port}", "TLSv1_3"], "1.3", alpn=("http/1.1",)),
    "python-1.2": Client([sys.executable, "-c", PYTHON, "{port}", "TLSv1_2"], "1.2", alpn=("http/1.1",)),
    "chromium": Client(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--user-data-dir={folder}/profile",
            "--host-resolver-rules=MAP www.example.org 127.0.0.1:{port}",
            "--disable-background-networking",
            "--dump-dom",
            f"https://{NAME}/",
        ],
        "1.3",
        alpn=WEB,
    ),
}
"""By name; between them the libraries OpenSSL, GnuTLS, NSS and BoringSSL."""


def captured(client: Client) -> bytes:
    """Let ``client`` connect, and return the records of its ClientHello."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        listener.settimeout(DEADLINE_S)
        port = listener.getsockname()[1]
        words = [word.replace("{port}", str(port)).replace("{folder}", folder) for word in client.words]
        environment = {"PATH": SYSTEM_PATH, "HOME": folder}
        # With a standard input that stays open: some clients end when theirs does.
        process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(DEADLINE_S)
                return _hello_of(connection)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _hello_of(connection: socket.socket) -> bytes:
    data = b""
    while not data or isinstance(read_client_hello(data), NeedMore):
        piece = connection.recv(65536)
        assert piece, f"it went away after {data!r}"
        data += piece
    return data
