"""The rules that bring a frontend's traffic to it when it listens, or connects, with addresses of others (TPROXY).

One nftables table of its own, a rule that routes marked packets by a table of their own, and in that table a route that
hands everything to this machine. Source: the kernel's Documentation/networking/tproxy.rst, nft(8), ip-rule(8).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from twisted_lb.config import inherit
from twisted_lb.config.addresses import ClientDestination, IpAddress, IpServer, parse_server
from twisted_lb.config.model import Config
from twisted_lb.doctor.machine import inside
from twisted_lb.doctor.sites import Connecting, Listening, connecting, families_of, listening
from twisted_lb.errors import ConfigError
from twisted_lb.privileges import is_transparent

ANY = ("0.0.0.0", "::")
LOOPBACK = {"ip": "127.0.0.1", "ip6": "[::1]"}
PROTOCOL = {"ip": "ipv4", "ip6": "ipv6"}


@dataclass(frozen=True)
class Choices:
    """What the operator chooses.

    ``ports``: the destination ports to intercept, such as ``80`` and ``8000-8099``; none: those of the binds.
    ``interfaces``: where clients' packets come in; none: everywhere but lo. ``networks``: the destinations; none: all
    that are not this machine's own. ``mark``, ``table``: of the packets and of their routes.
    """

    ports: Sequence[str] = ()
    interfaces: Sequence[str] = ()
    networks: Sequence[str] = ()
    mark: int = 1
    table: int = 100


@dataclass
class Interception:
    """What one frontend needs in one network namespace.

    ``listeners``: family and bind of what is to be intercepted. ``returning``: families in which servers answer to
    clients' addresses. ``keys``: the dotted keys that want it.
    """

    frontend: str
    namespace: str | None
    listeners: list[tuple[str, Listening]] = field(default_factory=list)
    returning: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def families(self) -> list[str]:
        """Every family that is concerned, IPv4 first."""
        return sorted({*(family for family, _ in self.listeners), *self.returning})

    @property
    def table_name(self) -> str:
        """The nftables table's name."""
        return "twisted_lb_" + re.sub(r"\W", "_", self.frontend)


def interceptions(config: Config, frontend: str) -> list[Interception]:
    """Return what the frontend of that name needs, one for each namespace; empty if nothing."""
    found: dict[str | None, Interception] = {}

    def there(namespace: str | None, key: str) -> Interception:
        one = found.setdefault(namespace, Interception(frontend, namespace))
        one.keys += [key] if key not in one.keys else []
        return one

    for one in listening(config):
        if one.frontend == frontend and one.bind.transparent and isinstance(one.address, IpAddress):
            there(one.namespace, f"{one.key}.transparent").listeners += [(family, one) for family in one.families]
    backends = inherit.reachable_from(config, frontend)
    for to in connecting(config):
        if to.backend in backends and to.source is not None and is_transparent(to.source):
            for namespace in to.namespaces:
                there(namespace, to.source_key).returning += _families_to(to, config, frontend)
    return list(found.values())


def script(config: Config, frontend: str, choices: Choices) -> str:
    """Return a shell script that makes the rules; it may be run again, and says how to undo them.

    Raises: ConfigError if there is no such frontend, or if it needs no rules.
    """
    if frontend not in config.frontends:
        raise ConfigError(f'there is no frontend "{frontend}" (there are: {", ".join(config.frontends)})')
    wanted = interceptions(config, frontend)
    if not wanted:
        raise ConfigError(
            f"frontends.{frontend} needs no rules: it has no bind with transparent = true, and no server that it leads"
            ' to has source = "client", "client_ip", "header:NAME" or one with transparent = true'
        )
    lines = [
        "#!/bin/sh",
        f"# Traffic for frontends.{frontend}, because of {', '.join(key for one in wanted for key in one.keys)}.",
        "# Run it as root, again after each boot. To undo it:",
        f"#   {undoing(wanted, choices)}",
        "set -e",
    ]
    for one in wanted:
        lines += [inside(one.namespace, "ip link set lo up"), *_routes(one, choices)]
        lines += [inside(one.namespace, "nft -f - <<'END'"), *_ruleset(one, choices), "END"]
    return "\n".join(lines) + "\n"


def undoing(wanted: Sequence[Interception], choices: Choices) -> str:
    """Return the line that takes the rules away again."""
    commands = []
    for one in wanted:
        commands.append(inside(one.namespace, f"nft delete table inet {one.table_name}"))
        for family in one.families:
            ip = _ip(family)
            commands.append(inside(one.namespace, f"{ip} rule del fwmark {choices.mark:#x} lookup {choices.table}"))
            commands.append(inside(one.namespace, f"{ip} route del local default dev lo table {choices.table}"))
    return "; ".join(commands)


def _ip(family: str) -> str:
    return "ip" if family == "ip" else "ip -6"


def _families_to(to: Connecting, config: Config, frontend: str) -> list[str]:
    """The families in which connections to a server bear clients' addresses."""
    try:
        parsed = parse_server(to.server.address)
    except ConfigError:
        return []
    if isinstance(parsed, IpServer):
        return families_of(parsed.host)
    if not isinstance(parsed, ClientDestination):
        return []
    return sorted({family for one in listening(config) if one.frontend == frontend for family in one.families})


def _routes(one: Interception, choices: Choices) -> Iterator[str]:
    for family in one.families:
        rule = f"fwmark {choices.mark:#x} lookup {choices.table}"
        ip = _ip(family)
        yield inside(one.namespace, f"{ip} rule del {rule} 2>/dev/null || :")
        yield inside(one.namespace, f"{ip} rule add {rule}")
        yield inside(one.namespace, f"{ip} route replace local default dev lo table {choices.table}")


def _ruleset(one: Interception, choices: Choices) -> Iterator[str]:
    mark = f"meta mark set {choices.mark:#x} accept"
    yield f"table inet {one.table_name}"
    yield f"delete table inet {one.table_name}"
    yield f"table inet {one.table_name} {{"
    yield "  chain prerouting {"
    yield "    type filter hook prerouting priority mangle; policy accept;"
    yield "    # What belongs to a connection that the proxy has, also what servers send to clients' addresses."
    yield f"    meta l4proto tcp socket transparent 1 socket wildcard 0 {mark}"
    if one.listeners:
        yield "    # New connections from clients. What the proxy itself sends could come by here from lo only."
        yield '    iifname "lo" return'
        for family, bind in _chosen(one, choices):
            target = f"tproxy {family} to {_target(family, bind, choices)}"
            yield f"    {_selector(family, bind, choices)} {target} {mark}"
    yield "  }"
    yield "}"


def _chosen(one: Interception, choices: Choices) -> Iterator[tuple[str, Listening]]:
    """With ports of the operator's choice the first bind of each family gets them all, for they can have one only."""
    seen: set[str] = set()
    for family, bind in one.listeners:
        if not choices.ports or family not in seen:
            yield family, bind
        seen.add(family)


def _selector(family: str, bind: Listening, choices: Choices) -> str:
    address = bind.address
    assert isinstance(address, IpAddress)
    words = []
    if choices.interfaces:
        words.append("iifname " + _set(f'"{name}"' for name in choices.interfaces))
    words.append(f"meta nfproto {PROTOCOL[family]}")
    networks = [network for network in choices.networks if families_of(network.partition("/")[0]) == [family]]
    if networks:
        words.append(f"{family} daddr {_set(networks)}")
    elif address.host not in ANY and families_of(address.host) == [family]:
        words.append(f"{family} daddr {address.host}")
    else:
        words.append("fib daddr type != { local, broadcast, multicast, anycast }")
    own = str(address.low) if address.low == address.high else f"{address.low}-{address.high}"
    words.append("tcp dport " + _set(choices.ports or [own]))
    return " ".join(words)


def _target(family: str, bind: Listening, choices: Choices) -> str:
    """Where the kernel looks for the listener; without a port it is the packet's own."""
    address = bind.address
    assert isinstance(address, IpAddress)
    of_any = address.host in ANY or len(families_of(address.host)) > 1
    host = "" if of_any else f"[{address.host}]" if family == "ip6" else address.host
    if address.low == address.high or choices.ports:
        return f"{host}:{address.low}"
    return host or LOOPBACK[family]


def _set(words: Iterator[str] | Sequence[str]) -> str:
    return "{ " + ", ".join(words) + " }"
