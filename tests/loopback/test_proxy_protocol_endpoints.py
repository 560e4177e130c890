"""PROXY headers in any Twisted application: ``proxy-protocol:`` descriptions, as the how-to page shows them."""

import os
import re
import socket
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.certificates import certificate
from tests.loopback.servers import Server

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy, Wait

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "proxy-protocol-in-your-own-application.md"
V1 = b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 80\r\n"
V2 = bytes.fromhex("0d0a0d0a000d0a515549540a2111000cc000020ac6336414dc0401bb")
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
DEADLINE_S = 15.0


class Program:
    """A running program; ``folder``: where it runs, with ``stderr.txt`` and what it writes."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with (folder / "stderr.txt").open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=errors, stderr=errors)

    def output(self) -> str:
        """All that it has written so far."""
        return (self.folder / "stderr.txt").read_text("utf-8", "replace")

    def stop(self) -> None:
        """End it; it must not have had anything to complain about."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                self.process.wait()
        assert "Traceback" not in self.output(), self.output()


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, wait: "Wait") -> Iterator[Start]:
    """Start a program: ``start(command, address)``; returns when something can be connected to at ``address``."""
    programs: list[Program] = []

    def starting(command: Sequence[str], address: Any, folder: Path | None = None) -> Program:
        program = Program(folder or tmp_path_factory.mktemp("program"), command)
        programs.append(program)

        def listens() -> bool:
            assert program.process.poll() is None, program.output()
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            with socket.socket(family) as probe:
                return probe.connect_ex(address) == 0

        wait(listens, f"somebody listens at {address}")
        return program

    yield starting
    for program in programs:
        program.stop()


def twistd_web(description: str) -> list[str]:
    twistd = os.path.join(sysconfig.get_path("scripts"), "twistd")
    return [twistd, "-n", "--pidfile=", "web", "--path", ".", "--logfile", "access.log", "--listen", description]


def dial(address: Any, source: str = "127.0.0.1") -> socket.socket:
    """Connect; the caller closes."""
    if isinstance(address, str):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE_S)
        client.connect(address)
        return client
    return socket.create_connection(address, DEADLINE_S, (source, 0))


def read_all(client: socket.socket) -> bytes:
    """Everything up to the end; nothing of it if that is a reset."""
    got = b""
    try:
        while data := client.recv(65536):
            got += data
    except ConnectionResetError:
        return b""
    return got


def ask(address: Any, *pieces: bytes, source: str = "127.0.0.1") -> bytes:
    """Connect, send, and read to the end; nothing if the connection is reset before that."""
    try:
        with dial(address, source) as client:
            for piece in pieces:
                client.sendall(piece)
            return read_all(client)
    except (ConnectionResetError, BrokenPipeError):
        return b""


def logged(program: Program, wait: "Wait", count: int = 1) -> list[str]:
    """Wait for that many lines of the access log; returns the clients' addresses."""
    path = program.folder / "access.log"

    def clients() -> list[str]:
        return [line.split()[0].strip('"') for line in path.read_text().splitlines()] if path.exists() else []

    wait(lambda: len(clients()) >= count, f"{count} requests in the log")
    return clients()


def status(answer: bytes) -> bytes:
    """The status of an HTTP response."""
    return answer.split(b" ", 2)[1] if answer.startswith(b"HTTP/1.") else answer


# twistd web


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_twistd_web_logs_the_client_that_the_header_names(
    start: Start, free_port: "FreePort", wait: "Wait", header: bytes
) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{port}\:interface\=127.0.0.1:from=127.0.0.1"), ("127.0.0.1", port))
    assert status(ask(("127.0.0.1", port), header + REQUEST)) == b"200"
    assert status(ask(("127.0.0.1", port), header[:9], header[9:], REQUEST)) == b"200"
    assert logged(web, wait, 2) == ["192.0.2.10"] * 2


def test_the_first_command_of_the_page_works_as_it_stands(start: Start, free_port: "FreePort", wait: "Wait") -> None:
    (description,) = re.findall(r"^twistd -n web --path \. --listen '(.*)'$", PAGE.read_text(), re.MULTILINE)[:1]
    (sent,) = re.findall(r"^printf '(.*)' \| nc 127\.0\.0\.1 8080$", PAGE.read_text(), re.MULTILINE)
    port = free_port()
    web = start(twistd_web(description.replace("8080", str(port))), ("127.0.0.1", port))
    answer = ask(("127.0.0.1", port), sent.encode().decode("unicode_escape").encode())
    assert status(answer) == b"200"
    assert logged(web, wait) == ["192.0.2.10"]


def test_what_is_no_header_gets_no_answer_and_a_line_in_the_log(
    start: Start, free_port: "FreePort", wait: "Wait"
) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{port}"), ("127.0.0.1", port))
    assert ask(("127.0.0.1", port), REQUEST) == b""
    wait(lambda: "refused: proxy-not-a-header" in web.output(), "a line about it")
    (line,) = (line for line in web.output().splitlines() if "refused" in line)
    assert r"GET / HTTP/1.0\r\n" in line
    assert not (web.folder / "access.log").read_text()


def test_others_are_turned_away_or_served_as_they_are(start: Start, free_port: "FreePort", wait: "Wait") -> None:
    refusing, serving = free_port(), free_port()
    start(twistd_web(rf"proxy-protocol:tcp\:{refusing}:from=127.0.0.1"), ("127.0.0.1", refusing))
    web = start(twistd_web(rf"proxy-protocol:tcp\:{serving}:from=127.0.0.1:others=direct"), ("127.0.0.1", serving))
    assert ask(("127.0.0.1", refusing), V1 + REQUEST, source="127.0.0.2") == b""
    assert status(ask(("127.0.0.1", serving), REQUEST, source="127.0.0.2")) == b"200"
    assert status(ask(("127.0.0.1", serving), V1 + REQUEST, source="127.0.0.2")) == b"400"
    assert logged(web, wait)[0] == "127.0.0.2"


def test_a_silent_client_is_gone_after_the_timeout(start: Start, free_port: "FreePort") -> None:
    port = free_port()
    start(twistd_web(rf"proxy-protocol:tcp\:{port}:timeout=200ms"), ("127.0.0.1", port))
    with dial(("127.0.0.1", port)) as client:
        assert read_all(client) == b""


def test_a_unix_socket(start: Start, tmp_path: Path, wait: "Wait") -> None:
    path = str(tmp_path / "web.sock")
    web = start(twistd_web(rf"proxy-protocol:unix\:{path}:from=unix"), path)
    assert status(ask(path, V1 + REQUEST)) == b"200"
    assert logged(web, wait) == ["192.0.2.10"]


# TLS


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and its certificate, which is for localhost, alone in a folder."""
    return certificate("localhost", tmp_path_factory.mktemp("pem") / "localhost.pem")


def trusting(pem: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pem))


def test_tls_behind_the_header(start: Start, free_port: "FreePort", wait: "Wait", pem: Path) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{port}:from=127.0.0.1:privateKey={pem}"), ("127.0.0.1", port))
    with dial(("127.0.0.1", port)) as plain:
        plain.sendall(V2)
        with trusting(pem).wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(REQUEST)
            assert status(client.recv(65536)) == b"200"
    assert logged(web, wait) == ["192.0.2.10"]


def test_a_header_within_tls(start: Start, free_port: "FreePort", wait: "Wait", pem: Path) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:ssl\:{port}\:privateKey\={pem}:from=127.0.0.1"), ("127.0.0.1", port))
    with (
        dial(("127.0.0.1", port)) as plain,
        trusting(pem).wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(V2 + REQUEST)
        assert status(client.recv(65536)) == b"200"
    assert logged(web, wait) == ["192.0.2.10"]


def test_tls_where_a_header_should_be_is_recognised(
    start: Start, free_port: "FreePort", wait: "Wait", pem: Path
) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{port}:privateKey={pem}"), ("127.0.0.1", port))
    with dial(("127.0.0.1", port)) as plain, pytest.raises(OSError):  # noqa: PT011  SSLError or ConnectionError
        trusting(pem).wrap_socket(plain, server_hostname="localhost")
    wait(lambda: "looks like a TLS ClientHello" in web.output(), "the likely cause")


# Clients

FETCH = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

class Fetch(Protocol):
    got = b""

    def __init__(self):
        self.done = Deferred()

    def connectionMade(self):
        self.transport.write(b"GET / HTTP/1.0\\r\\n\\r\\n")

    def dataReceived(self, data):
        self.got += data

    def connectionLost(self, reason):
        self.done.callback(None)

async def main(reactor, description):
    fetch = Fetch()
    await connectProtocol(clientFromString(reactor, description), fetch)
    await fetch.done
    sys.stdout.write(fetch.got.decode())

react(lambda *arguments: Deferred.fromCoroutine(main(*arguments)), sys.argv[1:])
"""


def fetch(description: str) -> bytes:
    """Fetch a page through our client endpoint, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FETCH, description], capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_our_client_tells_our_server(start: Start, free_port: "FreePort", wait: "Wait", version: str) -> None:
    port = free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{port}:from=127.0.0.1"), ("127.0.0.1", port))
    connecting = rf"proxy-protocol:tcp\:127.0.0.1\:{port}:version={version}"
    assert status(fetch(connecting)) == b"200"
    assert status(fetch(connecting + r":source=[2001\:db8\:\:1]\:4711")) == b"200"
    assert status(fetch(connecting + ":local=yes")) == b"200"
    assert logged(web, wait, 3) == ["127.0.0.1", "2001:db8::1", "127.0.0.1"]


def test_our_client_and_our_server_with_tls_behind_and_around_the_header(
    start: Start, free_port: "FreePort", wait: "Wait", pem: Path
) -> None:
    behind, around = free_port(), free_port()
    one = start(twistd_web(rf"proxy-protocol:tcp\:{behind}:privateKey={pem}"), ("127.0.0.1", behind))
    other = start(twistd_web(rf"proxy-protocol:ssl\:{around}\:privateKey\={pem}"), ("127.0.0.1", around))
    inner = rf"proxy-protocol\:tcp\\\:127.0.0.1\\\:{behind}\:source\=192.0.2.1\\\:4711"
    assert status(fetch(f"tls:localhost:{behind}:trustRoots={pem.parent}:endpoint={inner}")) == b"200"
    ways = rf"proxy-protocol:tls\:localhost\:{around}\:trustRoots\={pem.parent}:source=192.0.2.2\:4711"
    assert status(fetch(ways)) == b"200"
    assert [logged(program, wait) for program in (one, other)] == [["192.0.2.1"], ["192.0.2.2"]]


# The page's own program, and the proxy


def test_the_program_of_the_page(start: Start, free_port: "FreePort", tmp_path: Path) -> None:
    port = free_port()
    source = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "WhoAmI" in block
    )
    (tmp_path / "whoami.py").write_text(source)
    (command,) = re.findall(r"^python whoami\.py '(.*)'$", PAGE.read_text(), re.MULTILINE)
    start([sys.executable, "whoami.py", command.replace("8080", str(port))], ("127.0.0.1", port), tmp_path)
    assert ask(("127.0.0.1", port), V1) == b"You are '192.0.2.10', by way of '127.0.0.1', and asked for None.\n"
    named = V2[:15] + bytes([12 + 3 + 11]) + V2[16:] + b"\x02\0\x0bexample.org"
    assert b"asked for b'example.org'." in ask(("127.0.0.1", port), named)


def test_other_python_of_the_page_runs() -> None:
    blocks = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "WhoAmI" not in block
    ]
    assert len(blocks) == 2
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_nothing_is_lost_between_the_header_and_the_end_of_what_a_client_sends(
    proxy: "StartProxy", free_port: "FreePort", tcp_config: Any
) -> None:
    def count(client: socket.socket) -> None:
        client.sendall(str(len(read_all(client))).encode())

    port = free_port()
    server = Server(count)
    try:
        bind = rf"proxy-protocol:tcp\:{port}\:interface\=127.0.0.1"
        running = proxy(tcp_config(bind, f"127.0.0.1:{server.port}"))
        for size in (1, 70_000, 3_000_000):
            with dial(("127.0.0.1", port)) as client:
                client.sendall(V2 + bytes(size))
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == str(size).encode()
        assert [record["ending"] for record in running.records(3)] == ["--"] * 3
    finally:
        server.close()


def test_a_bind_and_a_server_of_the_proxy(
    start: Start, proxy: "StartProxy", free_port: "FreePort", wait: "Wait", tcp_config: Any
) -> None:
    front, back = free_port(), free_port()
    web = start(twistd_web(rf"proxy-protocol:tcp\:{back}:from=127.0.0.1"), ("127.0.0.1", back))
    running = proxy(
        tcp_config(
            rf"proxy-protocol:tcp\:{front}\:interface\=127.0.0.1:from=127.0.0.1",
            rf"proxy-protocol:tcp\:127.0.0.1\:{back}:source=198.51.100.1\:4711",
        )
    )
    assert status(ask(("127.0.0.1", front), V2 + REQUEST)) == b"200"
    (record,) = running.records(1)
    assert (record["source"], record["source_port"]) == ("192.0.2.10", 56324)
    assert (record["destination"], record["destination_port"]) == ("198.51.100.20", 443)
    assert record["ending"] == "--"
    assert logged(web, wait) == ["198.51.100.1"]
