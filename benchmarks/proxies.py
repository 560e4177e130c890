"""The peers: how each is found and started. They are one process with one thread, with two servers in turn."""

import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arrangement import Arrangement
from benchmarks.backend import CLIENT_PATH, Servers
from benchmarks.envoy import envoy
from benchmarks.errors import LoadFailedError
from benchmarks.greeting import SERVER_HELLO
from benchmarks.haproxy import haproxy
from benchmarks.hello import CLIENT_HELLO
from benchmarks.network import Network
from benchmarks.nginx import nginx
from benchmarks.ours import HARMLESS, HELD, ours
from benchmarks.placement import Placement, Target
from benchmarks.process import PROXY_HEADER, REQUEST, free_ports, running, wait_until_serving
from benchmarks.programs import find_stream_module, find_twistd, installed_version, version_of

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """Something to measure.

    ``describe`` gives its version and raises MissingProgramError when it is not installed. ``prepare`` writes the files
    that it needs and gives the command; ``None`` in its place: no proxy, the client talks to the first server.
    """

    name: str
    describe: Callable[[], str]
    prepare: Callable[[Placement], list[str]] | None


def _portforward(place: Placement) -> list[str]:
    return [sys.executable, str(HERE / "portforward.py"), str(place.port), *map(str, place.server_ports)]


def _describe_ours() -> str:
    find_twistd()
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{installed_version('twisted-lb')}{f' ({revision})' if revision else ''}, {_describe_twisted()}"


def _describe_twisted() -> str:
    return f"Twisted {installed_version('twisted')}, {platform.python_implementation()} {platform.python_version()}"


def _describe_haproxy() -> str:
    return version_of("haproxy", "-v")


def _describe_nginx() -> str:
    find_stream_module()
    return version_of("nginx", "-v")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", _describe_ours, ours()),
        Peer("ours-json-log", _describe_ours, ours('{{ use = "json", path = "{directory}/access.log" }}')),
        Peer("ours-tcp-options", _describe_ours, ours(tcp=HARMLESS)),
        Peer("ours-buffer-request", _describe_ours, ours(of_frontend=HELD)),
        Peer("haproxy", _describe_haproxy, haproxy()),
        # HAProxy 2.6 was seen (strace) to splice nothing of these downloads with splice-auto, all with splice-response.
        Peer("haproxy-splice-auto", _describe_haproxy, haproxy("option splice-auto")),
        Peer("haproxy-splice-response", _describe_haproxy, haproxy("option splice-response")),
        Peer("haproxy-reuse-always", _describe_haproxy, haproxy("http-reuse always")),
        Peer("nginx", _describe_nginx, nginx()),
        Peer("nginx-request-buffering", _describe_nginx, nginx("on")),
        Peer("envoy", lambda: version_of("envoy", "--version"), envoy),
        Peer("portforward", _describe_twisted, _portforward),
        Peer("direct", lambda: "no proxy: the client talks to the first server", None),
    )
}


def peer_from_command(definition: str) -> Peer:
    """A peer from ``NAME=COMMAND``, where ``{port}``, ``{server1}`` and ``{server2}`` stand for port numbers.

    Raises: ValueError when there is no ``=``, no command, or a placeholder that does not exist.
    """
    name, _, command = definition.partition("=")
    words = shlex.split(command)
    if not name or not words:
        raise ValueError(f"{definition!r} is not NAME=COMMAND")

    def prepare(place: Placement) -> list[str]:
        return [
            word.format(port=place.port, server1=place.server_ports[0], server2=place.server_ports[1]) for word in words
        ]

    try:
        prepare(Placement(Path(), 1, (2, 3), 0))
    except (LookupError, ValueError) as error:
        raise ValueError(f"{definition!r} has an unknown placeholder: {error}") from error
    return Peer(name, lambda: command, prepare)


@contextmanager
def running_peer(
    peer: Peer, directory: Path, servers: Servers, descriptors: int, arrangement: Arrangement, network: Network
) -> Iterator[Target]:
    """Start ``peer`` in ``directory`` and wait until a request passes through it; stop it on the way out.

    Raises: LoadFailedError when it does not serve, or not as ``arrangement`` wants it.
    """
    ports = servers.behind(arrangement)
    if peer.prepare is None:
        yield Target(peer.name, ports[0], None, network)
        return
    [port] = network.proxy.call(lambda: free_ports(1, network.proxy.address))
    command = peer.prepare(Placement(directory, port, ports, descriptors, arrangement, network))
    log = directory / f"{peer.name}.log"
    with running(network.proxy.command(command), directory, log) as child:
        target = Target(peer.name, port, child.pid, network)
        header = PROXY_HEADER if arrangement is Arrangement.PROXIED else b""
        tls = arrangement is Arrangement.TLS_RULES
        said, answer = (CLIENT_HELLO, SERVER_HELLO) if tls else (REQUEST, b"HTTP/1.1 200")
        network.clients.call(lambda: wait_until_serving(target.address, child, log, header, said, answer))
        if arrangement is Arrangement.TRANSPARENT:
            network.clients.call(lambda: _check_source(target))
        yield target


def _check_source(target: Target) -> None:
    """A proxy that quietly uses its own address would be measured for nothing."""
    with socket.create_connection(target.address, timeout=5) as sock:
        sock.sendall(REQUEST.replace(b" / ", f" {CLIENT_PATH} ".encode()))
        seen = sock.recv(4096).decode().splitlines()[-1:]
        own = "{} {}".format(*sock.getsockname())
    if seen != [own]:
        raise LoadFailedError(f"the server saw a connection from {seen}, and not from the client's {own}")
