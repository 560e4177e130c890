"""The peers: how each is found, configured (one thread, plain TCP, two servers in turn) and started."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backend import Servers, user_line
from benchmarks.process import HOST, PROXY_HEADER, free_ports, running, wait_until_serving
from benchmarks.programs import find_program, find_stream_module, find_twistd, installed_version, version_of

HERE = Path(__file__).parent
# Each connection costs a proxy two descriptors; with splicing, HAProxy sets aside half as many again for pipes.
DESCRIPTORS_PER_CONNECTION = 2.5
SPARE_DESCRIPTORS = 1000


def connections_within(descriptors: int) -> int:
    """How many connections a proxy that may have ``descriptors`` is able to serve at once."""
    return max(1, int((descriptors - SPARE_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION))


@dataclass(frozen=True)
class Placement:
    """Where one start of a peer lives: its private directory, its port, its two servers and its descriptor limit.

    ``proxied``: clients send a PROXY v2 header, and the servers want one.
    """

    directory: Path
    port: int
    servers: tuple[int, int]
    descriptors: int
    proxied: bool = False


@dataclass(frozen=True)
class Peer:
    """Something to measure.

    ``describe`` gives its version and raises MissingProgramError when it is not installed. ``prepare`` writes the files
    that it needs and gives the command; ``None`` in its place: no proxy, the client talks to the first server.
    """

    name: str
    describe: Callable[[], str]
    prepare: Callable[[Placement], list[str]] | None


@dataclass(frozen=True)
class Target:
    """A peer that runs: the port for clients, and the process to account for (``None``: there is no proxy)."""

    name: str
    port: int
    pid: int | None


def _haproxy(options: str) -> Callable[[Placement], list[str]]:
    def prepare(place: Placement) -> list[str]:
        configuration = place.directory / "haproxy.cfg"
        accept, send = ("accept-proxy", "send-proxy-v2") if place.proxied else ("", "")
        configuration.write_text(
            f"""
global
    nbthread 1
    maxconn {connections_within(place.descriptors)}
defaults
    mode tcp
    no log
    {options}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen benchmark
    bind {HOST}:{place.port} {accept}
    balance roundrobin
    server a {HOST}:{place.servers[0]} {send}
    server b {HOST}:{place.servers[1]} {send}
"""
        )
        return [find_program("haproxy"), "-db", "-f", str(configuration)]

    return prepare


def _nginx(place: Placement) -> list[str]:
    module = find_stream_module()
    configuration = place.directory / "nginx.conf"
    configuration.write_text(
        f"""
{f"load_module {module};" if module else ""}
{user_line()}
daemon off;
worker_processes 1;
pid {place.directory}/nginx.pid;
error_log {place.directory}/nginx-error.log crit;
events {{ worker_connections {place.descriptors}; }}
stream {{
    access_log off;
    upstream servers {{ server {HOST}:{place.servers[0]}; server {HOST}:{place.servers[1]}; }}
    server {{
        listen {HOST}:{place.port} backlog=4096;
        proxy_pass servers;
        proxy_connect_timeout 5s;
        proxy_timeout 600s;
    }}
}}
"""
    )
    return [find_program("nginx"), "-p", str(place.directory), "-c", str(configuration)]


def _ours(access_log: str) -> Callable[[Placement], list[str]]:
    def prepare(place: Placement) -> list[str]:
        configuration = place.directory / "lb.toml"
        accept, send = ("true", '"v2"') if place.proxied else ("false", "false")
        configuration.write_text(
            f"""
[process]
graceful_stop = "1s"
[defaults]
access_log = {access_log.format(directory=place.directory)}
[defaults.timeouts]
connect = "5s"
client = "600s"
server = "600s"
[frontends.benchmark]
bind = ["{HOST}:{place.port}"]
accept_proxy = {accept}
backend = "benchmark"
[backends.benchmark]
balance = "round_robin"
send_proxy = {send}
[backends.benchmark.servers]
a = "{HOST}:{place.servers[0]}"
b = "{HOST}:{place.servers[1]}"
"""
        )
        return [find_twistd(), "-n", "--pidfile=", "twisted-lb", "--config", str(configuration)]

    return prepare


def _portforward(place: Placement) -> list[str]:
    return [sys.executable, str(HERE / "portforward.py"), str(place.port), *(str(port) for port in place.servers)]


def _describe_ours() -> str:
    find_twistd()
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{installed_version('twisted-lb')}{f' ({revision})' if revision else ''}, {_describe_twisted()}"


def _describe_twisted() -> str:
    return f"Twisted {installed_version('twisted')}, {platform.python_implementation()} {platform.python_version()}"


def _describe_nginx() -> str:
    find_stream_module()
    return version_of("nginx", "-v")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", _describe_ours, _ours('"none"')),
        Peer("ours-json-log", _describe_ours, _ours('{{ use = "json", path = "{directory}/access.log" }}')),
        Peer("haproxy", lambda: version_of("haproxy", "-v"), _haproxy("")),
        # HAProxy 2.6 was seen (strace) to splice nothing of these downloads with splice-auto, all with splice-response.
        Peer("haproxy-splice-auto", lambda: version_of("haproxy", "-v"), _haproxy("option splice-auto")),
        Peer("haproxy-splice-response", lambda: version_of("haproxy", "-v"), _haproxy("option splice-response")),
        Peer("nginx", _describe_nginx, _nginx),
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
        return [word.format(port=place.port, server1=place.servers[0], server2=place.servers[1]) for word in words]

    try:
        prepare(Placement(Path(), 1, (2, 3), 0))
    except (LookupError, ValueError) as error:
        raise ValueError(f"{definition!r} has an unknown placeholder: {error}") from error
    return Peer(name, lambda: command, prepare)


@contextmanager
def running_peer(
    peer: Peer, directory: Path, servers: Servers, descriptors: int, proxied: bool = False
) -> Iterator[Target]:
    """Start ``peer`` in ``directory`` and wait until a request passes through it; stop it on the way out.

    ``proxied``: with PROXY v2 headers on both sides of it.
    Raises: LoadFailedError when it does not serve.
    """
    ports = servers.proxied if proxied else servers.plain
    if peer.prepare is None:
        yield Target(peer.name, ports[0], None)
        return
    [port] = free_ports(1)
    command = peer.prepare(Placement(directory, port, ports, descriptors, proxied))
    log = directory / f"{peer.name}.log"
    with running(command, directory, log) as child:
        wait_until_serving(port, child, log, PROXY_HEADER if proxied else b"")
        yield Target(peer.name, port, child.pid)
