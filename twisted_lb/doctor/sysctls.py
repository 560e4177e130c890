"""Kernel settings, each in the namespace where it counts."""

import re
import shlex
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from msgspec import UnsetType

from twisted_lb.config.addresses import FixedSource, IpAddress, IpServer, parse_server, parse_source
from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, advice, missing, ok
from twisted_lb.doctor.machine import CannotLookError, Machine, inside, place
from twisted_lb.doctor.sites import Connecting, Listening, connecting, families_of, listening
from twisted_lb.errors import ConfigError

WIDEST_PORTS = "1024 65535"
CLIENT_BIT, SERVER_BIT = 1, 2
"""Of tcp_fastopen; ip-sysctl.rst."""
_WORTH_HAVING = {
    "net.ipv4.tcp_sack": "lost packets are sent again one by one only with it",
    "net.ipv4.tcp_timestamps": "round trips are measured, and ports used again sooner, only with it",
    "net.ipv4.tcp_window_scaling": "no more than 64 KiB are under way without it",
}


def examine(config: Config, machine: Machine) -> Iterator[Finding]:
    """Look at what listeners and connections depend on."""
    binds = [one for one in listening(config) if isinstance(one.address, IpAddress)]
    servers = list(connecting(config))
    for one in binds:
        yield from _guarded(one.key, _of_bind(one, machine))
    for to in servers:
        for namespace in to.namespaces:
            yield from _guarded(to.key, _of_server(config, to, namespace, machine))
    everywhere = dict.fromkeys([one.namespace for one in binds] + [where for to in servers for where in to.namespaces])
    for namespace in everywhere:
        yield from _guarded("[process]", _of_tcp(namespace, machine))


def _guarded(key: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except CannotLookError as error:
        yield missing(str(error), key, *error.commands)


def setting(name: str, value: object, namespace: str | None) -> str:
    """Return the command that sets a kernel setting until the next boot; /etc/sysctl.d/ is for longer."""
    return inside(namespace, shlex.join(["sysctl", "-w", f"{name}={value}"]))


def _number(machine: Machine, name: str, namespace: str | None) -> int | None:
    text = machine.sysctl(name, namespace)
    return int(text, 0) if text is not None and re.fullmatch(r"-?(0x)?[0-9a-f]+", text) else None


def _at_least(machine: Machine, name: str, wanted: int, namespace: str | None, why: str) -> Iterator[Finding]:
    there = _number(machine, name, namespace)
    if there is not None and there < wanted:
        what = f"{name} = {there}{place(namespace)}, and at least {wanted} is needed"
        yield missing(what, why, setting(name, wanted, namespace))
    elif there is not None:
        yield ok(f"{name} = {there}{place(namespace)}", why)


# Binds


def _of_bind(one: Listening, machine: Machine) -> Iterator[Finding]:
    where = one.namespace
    why = f"{one.key}.backlog = {one.bind.backlog}: a longer queue is cut down to it"
    yield from _at_least(machine, "net.core.somaxconn", one.bind.backlog, where, why)
    if not isinstance(one.tcp.fast_open, UnsetType) and one.tcp.fast_open:
        yield from _fast_open(machine, SERVER_BIT, where, one.option("fast_open"))
    yield from _of_options(one, where, machine)
    assert isinstance(one.address, IpAddress)
    if one.bind.transparent:
        yield from _of_transparent(one, machine)
    else:
        yield from _local(one.address.host, where, one.key, machine)


def _of_transparent(one: Listening, machine: Machine) -> Iterator[Finding]:
    why = f"{one.key}.transparent"
    for family in one.families:
        name = "net.ipv4.ip_forward" if family == "ip" else "net.ipv6.conf.all.forwarding"
        if _number(machine, name, one.namespace) == 0:
            yield advice(
                f"{name} = 0{place(one.namespace)}: what is not intercepted is not passed on either",
                why,
                setting(name, 1, one.namespace),
            )
    strict = _strict(machine, one.namespace) if "ip" in one.families else []
    if strict:
        told = ", ".join(f"net.ipv4.conf.{name}.rp_filter = 1" for name in strict)
        yield advice(
            f"{told}{place(one.namespace)}: what comes in by another interface than its answers go out by is dropped"
            " without a word",
            why,
            setting("net.ipv4.conf.all.rp_filter", 2, one.namespace),
        )


def _strict(machine: Machine, namespace: str | None) -> list[str]:
    """Name the interfaces that filter strictly, ``all`` for all; for each the greater of its own and that counts."""
    folder = "/proc/sys/net/ipv4/conf"
    of_all = machine.file(f"{folder}/all/rp_filter", namespace)
    if of_all != "0":
        return ["all"] if of_all == "1" else []
    own = [name for name in machine.names(folder, namespace) if name not in ("all", "default", "lo")]
    return [name for name in own if machine.file(f"{folder}/{name}/rp_filter", namespace) == "1"]


def _local(host: str, namespace: str | None, key: str, machine: Machine) -> Iterator[Finding]:
    """An address that this machine does not have can be bound to only when the kernel is told so."""
    families = families_of(host)
    if len(families) > 1 or host in ("0.0.0.0", "::"):
        return
    version = "ipv4" if families == ["ip"] else "ipv6"
    route = machine.json(["ip", "-j", f"-{version[-1]}", "route", "show", "table", "local"], namespace)
    if any(entry.get("type") == "local" and _covers(entry.get("dst", ""), host) for entry in route):
        return
    name = f"net.{version}.ip_nonlocal_bind"
    if not _number(machine, name, namespace):
        what = f"{host} is not an address of this machine{place(namespace)}, and {name} = 0"
        yield missing(what, key, setting(name, 1, namespace))
    else:
        yield ok(f"{name} = 1{place(namespace)}, and {host} is not an address of this machine", key)


def _covers(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def _fast_open(machine: Machine, bit: int, namespace: str | None, why: str) -> Iterator[Finding]:
    there = _number(machine, "net.ipv4.tcp_fastopen", namespace)
    if there is None or there & bit:
        yield ok(f"net.ipv4.tcp_fastopen = {there}{place(namespace)}", why)
        return
    what = f"net.ipv4.tcp_fastopen = {there}{place(namespace)}, and the bit {bit} is needed"
    yield missing(what, why, setting("net.ipv4.tcp_fastopen", CLIENT_BIT | SERVER_BIT | there, namespace))


def _of_options(one: Listening | Connecting, namespace: str | None, machine: Machine) -> Iterator[Finding]:
    if one.tcp.multipath is True:
        yield from _at_least(machine, "net.mptcp.enabled", 1, namespace, one.option("multipath"))
    for name, limit in (("receive_buffer", "net.core.rmem_max"), ("send_buffer", "net.core.wmem_max")):
        size = getattr(one.tcp, name)
        if isinstance(size, int):
            why = f"{one.option(name)} = {size}: more than there may be is refused at the start"
            yield from _at_least(machine, limit, size, namespace, why)


# Servers


def _of_server(config: Config, to: Connecting, namespace: str | None, machine: Machine) -> Iterator[Finding]:
    if not isinstance(to.tcp.fast_open, UnsetType) and to.tcp.fast_open:
        yield from _fast_open(machine, CLIENT_BIT, namespace, to.option("fast_open"))
    yield from _of_options(to, namespace, machine)
    source = to.source
    fixed = parse_source(source.address) if source is not None and source.address is not None else FixedSource("")
    if isinstance(fixed, FixedSource) and not fixed.low:
        yield from _ports(config, to, namespace, machine)
    if isinstance(fixed, FixedSource) and fixed.host and source is not None and not source.transparent:
        yield from _local(fixed.host, namespace, to.source_key, machine)


def _ports(config: Config, to: Connecting, namespace: str | None, machine: Machine) -> Iterator[Finding]:
    """One address of ours has so many ports towards one server; what is wanted is known only where it is said."""
    limits = [one for one in (config.process.maxconn, to.server.maxconn) if one]
    text = machine.sysctl("net.ipv4.ip_local_port_range", namespace)
    if not limits or text is None or not _is_ip(to.server.address):
        return
    low, high = map(int, text.split())
    why = f"{to.key}: up to {min(limits)} connections at once"
    if high - low + 1 >= min(limits):
        yield ok(f"net.ipv4.ip_local_port_range = {low} {high}{place(namespace)}", why)
        return
    yield advice(
        f"net.ipv4.ip_local_port_range = {low} {high}{place(namespace)}: {high - low + 1} connections at once from one"
        " address to one server",
        why,
        setting("net.ipv4.ip_local_port_range", WIDEST_PORTS, namespace),
    )


def _is_ip(address: str) -> bool:
    try:
        return isinstance(parse_server(address), IpServer)
    except ConfigError:
        return False


# All of TCP


def _of_tcp(namespace: str | None, machine: Machine) -> Iterator[Finding]:
    for name, why in _WORTH_HAVING.items():
        there = _number(machine, name, namespace)
        if there == 0:
            yield advice(f"{name} = 0{place(namespace)}", why, setting(name, 1, namespace))
        elif there is not None:
            yield ok(f"{name} = {there}{place(namespace)}", why)
    ecn = _number(machine, "net.ipv4.tcp_ecn", namespace)
    if ecn is not None:
        meaning = {0: "never", 1: "always asked for", 2: "when the other side asks"}.get(ecn, "see ip-sysctl.rst")
        yield ok(f"net.ipv4.tcp_ecn = {ecn}{place(namespace)}", f"explicit congestion notification: {meaning}")
