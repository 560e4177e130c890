"""Namespaces, transparent listening and source addresses for any application, as the how-to page shows them.

A client's namespace and a proxy's, joined by a pair of virtual interfaces. Descriptions run in real processes.
"""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.selectreactor import SelectReactor
from zope.interface.verify import verifyClass

from twisted_lb.endpoints.network import NetworkClientEndpoint, NetworkServerEndpoint
from twisted_lb.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "namespaces-and-transparent-endpoints.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TWISTD = shlex.quote(os.path.join(sysconfig.get_path("scripts"), "twistd"))
DEADLINE_S = 15.0

pytestmark = [pytest.mark.linux, pytest.mark.root, pytest.mark.daemon("ip", "nft", "curl")]

Start = Callable[..., "Program"]


def run(command: str | Sequence[str], folder: Path | None = None) -> str:
    """Run a command, or lines of a shell; it must succeed."""
    words = ["sh", "-ec", command] if isinstance(command, str) else command
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


class Program:
    """A running ``twistd``, in its own folder."""

    def __init__(self, folder: Path, line: str, netns: str | None) -> None:
        self.folder = folder
        words = ["ip", "netns", "exec", netns] if netns else []
        line = line.replace("twistd -n ", f"exec {TWISTD} -n --pidfile= ")
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([*words, "sh", "-ec", line], cwd=folder, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while not re.search("starting on|serving on", self.log()):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        assert "Traceback" not in self.log(), self.log()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start ``twistd``: ``start(line, netns)``; returns when it listens."""
    programs: list[Program] = []

    def starting(line: str, netns: str | None = None) -> Program:
        programs.append(Program(tmp_path_factory.mktemp("program"), line, netns))
        return programs[-1]

    yield starting
    for program in programs:
        program.stop()


@pytest.fixture
def blue() -> Iterator[str]:
    """The name of a namespace that the test has to make."""
    name = f"lbt{os.getpid()}blue"
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=DEADLINE_S)


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two namespaces: the client's, 10.9.0.1 and fd09::1, whose packets go by the other, 10.9.0.2 and fd09::2."""
    names = client, proxy = f"lbt{os.getpid()}c", f"lbt{os.getpid()}p"
    run(f"""
        ip netns add {client}; ip netns add {proxy}
        ip -n {client} link set lo up; ip -n {proxy} link set lo up
        ip -n {client} link add v0 type veth peer name v1 netns {proxy}
        ip -n {client} addr add 10.9.0.1/24 dev v0; ip -n {client} addr add fd09::1/64 dev v0 nodad
        ip -n {proxy} addr add 10.9.0.2/24 dev v1; ip -n {proxy} addr add fd09::2/64 dev v1 nodad
        ip -n {client} link set v0 up; ip -n {proxy} link set v1 up
        ip -n {client} route add default via 10.9.0.2; ip -n {client} -6 route add default via fd09::2
        ip netns exec {proxy} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
        ip netns exec {proxy} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
    """)
    yield names
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=DEADLINE_S)


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[[str], str]:
    """Fetch a page with the page's own program: ``fetch(description)``."""
    (tmp_path / "fetch.py").write_text(next(block for block in PROGRAMS if "class Fetch" in block))
    return lambda description: run([sys.executable, "fetch.py", description], tmp_path)


def commands(beginning: str) -> str:
    """The commands of the page that begin so."""
    (found,) = (str(block) for block in COMMANDS if block.startswith(beginning))
    return found


def described(beginning: str) -> str:
    """The description that ``fetch.py`` is called with."""
    (found,) = re.findall(rf"^python fetch\.py '({beginning}.*)'$", PAGE, re.MULTILINE)
    assert isinstance(found, str)
    return found


def clients(program: Program) -> list[str]:
    """The addresses of those who asked ``twistd web``."""
    return re.findall(r'"?([0-9a-f.:]+)"? - - \[.*?"GET', program.log())


# Namespaces


def sockets_of(program: Program) -> set[str]:
    """The numbers of the sockets that a program has open."""
    links = [os.readlink(one.path) for one in os.scandir(f"/proc/{program.process.pid}/fd") if one.is_symlink()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:")}


def listening(port: int, netns: str | None = None) -> set[str]:
    """The numbers of all sockets that listen on TCP port ``port``, here or in a namespace."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    lines = [line.split() for line in run([*inside, "cat", "/proc/net/tcp", "/proc/net/tcp6"]).splitlines()]
    return {fields[9] for fields in lines if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"}


def test_the_commands_of_the_page_about_namespaces_work_as_they_stand(
    start: Start, blue: str, fetch: Callable[[str], str]
) -> None:
    *making, serving = commands("ip netns add blue").replace("blue", blue).splitlines()
    run("\n".join(making))
    program = start(serving)
    assert "Directory listing" in run(commands("ip netns exec blue curl").replace("blue", blue))
    assert "200 OK" in fetch(described("netns:").replace("blue", blue))
    held = sockets_of(program)
    assert held & listening(8080, blue)
    assert not held & listening(8080), "it listens nowhere but inside"
    assert clients(program) == ["127.0.0.1", "127.0.0.1"]


def test_a_client_comes_from_the_address_of_the_page(start: Start, blue: str, fetch: Callable[[str], str]) -> None:
    run(f"ip netns add {blue}; ip -n {blue} link set lo up")
    program = start(rf"twistd -n web --path . --listen 'netns:/run/netns/{blue}:tcp\:8080'")
    assert "200 OK" in fetch(described("from:") + f":namespace={blue}:port=4711")
    assert clients(program) == ["127.0.0.7"]


def test_a_name_is_looked_up_outside(start: Start, blue: str, fetch: Callable[[str], str]) -> None:
    run(f"ip netns add {blue}; ip -n {blue} link set lo up")
    start(rf"twistd -n web --path . --listen 'netns:{blue}:tcp\:8080'")
    assert "200 OK" in fetch(rf"netns:{blue}:tcp\:localhost\:8080")


def test_the_proxy_can_have_them_as_bind_and_as_server(start: Start, blue: str, tmp_path: Path) -> None:
    run(f"ip netns add {blue}; ip -n {blue} link set lo up")
    web = start(rf"twistd -n web --path . --listen 'netns:{blue}:tcp\:9001'")
    (tmp_path / "lb.toml").write_text(rf"""
        [frontends.web]
        bind = 'netns:{blue}:tcp\:8080'
        backend = "app"
        [backends.app.servers]
        a = 'netns:{blue}:from\:127.0.0.9\:tcp\\\:127.0.0.1\\\:9001'
    """)
    start(f"twistd -n twisted-lb --config {tmp_path}/lb.toml")
    assert "Directory listing" in run(["ip", "netns", "exec", blue, "curl", "-s", "http://127.0.0.1:8080/"])
    assert clients(web) == ["127.0.0.9"]


# Transparent


@pytest.mark.parametrize("version", [4, 6])
def test_connections_to_addresses_that_exist_nowhere_are_taken_as_the_page_says(
    start: Start, pair: tuple[str, str], version: int
) -> None:
    client, proxy = pair
    *rules, serving = commands("ip rule add fwmark").rstrip().splitlines()
    setting = "\n".join(rules)
    if version == 6:
        setting = setting.replace("ip rule", "ip -6 rule").replace("ip route", "ip -6 route").replace("ip tr", "ip6 tr")
        (listening,) = re.findall(r"`(transparent:.*interface.*)`", PAGE)
        serving = re.sub("'.*'", lambda _: f"'{listening}'", serving)
    run(["ip", "netns", "exec", proxy, "sh", "-ec", setting])
    program = start(serving, proxy)
    address = "198.51.100.99" if version == 4 else "[2001:db8::99]"
    url = f"http://{address}/nothing"
    assert "No Such Resource" in run(["ip", "netns", "exec", client, "curl", "-s", "--max-time", "10", url])
    assert clients(program) == ["10.9.0.1" if version == 4 else "fd09::1"]


HOST = """
import sys
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted_lb.endpoints.network import NetworkClientEndpoint, NetworkServerEndpoint

class Tell(Protocol):
    def connectionMade(self):
        host, peer = self.transport.getHost(), self.transport.getPeer()
        self.transport.write(f"{host.host} {host.port} {peer.host} {peer.port}".encode())
        self.transport.loseConnection()

class Print(Protocol):
    def dataReceived(self, data):
        print(data.decode(), flush=True)
    def connectionLost(self, reason):
        reactor.stop()

def connect(port):
    there = NetworkClientEndpoint(reactor, "198.51.100.99", 80, namespace=sys.argv[1], source="203.0.113.5",
                                  source_port=4711, transparent=True)
    connectProtocol(there, Print()).addErrback(lambda failure: (print(failure), reactor.stop()))

NetworkServerEndpoint(reactor, 8080, namespace=sys.argv[2], transparent=True).listen(
    Factory.forProtocol(Tell)).addCallback(connect)
reactor.callLater(10, reactor.stop)
reactor.run()
"""


def test_both_ends_keep_addresses_that_belong_to_nobody(pair: tuple[str, str]) -> None:
    """One process with a foot in each namespace; the client's address and the server's are both foreign."""
    client, proxy = pair
    setting = commands("ip rule add fwmark").rpartition("twistd")[0]
    back = """
        ip rule add fwmark 1 lookup 100; ip route add local default dev lo table 100
        nft 'table ip t { chain c { type filter hook prerouting priority mangle;
             meta l4proto tcp socket transparent 1 meta mark set 1 accept; }; }'
        for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done
    """
    run(["ip", "netns", "exec", proxy, "sh", "-ec", setting + f"ip route add 203.0.113.0/24 via 10.9.0.1\n{RP_FILTER}"])
    run(["ip", "netns", "exec", client, "sh", "-ec", back])
    assert run([sys.executable, "-c", HOST, client, proxy]) == "198.51.100.99 80 203.0.113.5 4711\n"


RP_FILTER = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done\n"


# In Python


def test_the_last_program_of_the_page_runs(blue: str) -> None:
    (program,) = (block for block in PROGRAMS if "def server(" in block)
    run(f"ip netns add {blue}")
    more = f"from twisted.internet.address import IPv4Address as A\nserver('{blue}')\n"
    more += f"client_for(A('TCP', '192.0.2.1', 5), A('TCP', '192.0.2.2', 6))\ntls_server('{blue}', None)\n"
    run([sys.executable, "-c", program + more])


@pytest.mark.parametrize(
    ("kind", "interface"),
    [(NetworkServerEndpoint, IStreamServerEndpoint), (NetworkClientEndpoint, IStreamClientEndpoint)],
)
def test_they_are_endpoints(kind: Any, interface: Any) -> None:
    verifyClass(interface, kind)


def test_what_cannot_be_had_is_said_when_they_are_made() -> None:
    reactor = SelectReactor()
    with pytest.raises(ConfigError, match="there is no /run/netns/lbt-missing"):
        NetworkServerEndpoint(reactor, 80, namespace="lbt-missing")
    with pytest.raises(ConfigError, match="no IP address"):
        NetworkClientEndpoint(reactor, "127.0.0.1", 80, source="somewhere")
