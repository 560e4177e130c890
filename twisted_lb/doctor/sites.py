"""The binds and servers of a configuration, each with its key and the network namespaces that it lives in."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from twisted_lb.config import inherit
from twisted_lb.config.addresses import BindAddress, IpAddress, parse_bind
from twisted_lb.config.keys import ServerKeys, option_key
from twisted_lb.config.model import Bind, Config, Server, Source
from twisted_lb.config.tcp import ConnectTcp, ListenTcp


@dataclass(frozen=True)
class Listening:
    """A bind entry. ``key``: its dotted key; ``tcp``: its options, inherited ones included."""

    frontend: str
    key: str
    bind: Bind
    address: BindAddress
    tcp: ListenTcp

    @property
    def namespace(self) -> str | None:
        """Where it listens."""
        return self.bind.namespace

    def option(self, name: str) -> str:
        """Return the key that an option of ``tcp`` comes from."""
        return option_key(self.bind.tcp, self.key, f"frontends.{self.frontend}", name)

    @property
    def families(self) -> list[str]:
        """``ip``, ``ip6`` or both, as nftables calls them."""
        return families_of(self.address.host) if isinstance(self.address, IpAddress) else []


@dataclass(frozen=True)
class Connecting:
    """A server entry. ``namespaces``: where it may be reached, the clients' own ones for ``*``."""

    backend: str
    key: str
    server: Server
    tcp: ConnectTcp
    source: Source | None
    source_key: str
    namespaces: tuple[str | None, ...]

    def option(self, name: str) -> str:
        """Return the key that an option of ``tcp`` comes from."""
        return option_key(self.server.tcp, self.key, f"backends.{self.backend}", name)


def listening(config: Config) -> Iterator[Listening]:
    """Yield every bind."""
    for name, frontend in config.frontends.items():
        for index, bind in enumerate(frontend.bind):
            key = f"frontends.{name}.bind[{index}]"
            yield Listening(name, key, bind, parse_bind(bind.address), inherit.listen_tcp(frontend, bind))


def connecting(config: Config) -> Iterator[Connecting]:
    """Yield every server."""
    for name, backend in config.backends.items():
        for server_name, server in backend.servers.items():
            key = f"backends.{name}.servers.{server_name}"
            namespace = inherit.namespace(backend, server)
            where = tuple(_clients(config, name)) if namespace == "*" else (namespace,)
            yield Connecting(
                name,
                key,
                server,
                inherit.connect_tcp(backend, server),
                inherit.source(backend, server),
                ServerKeys(f"backends.{name}", server_name, server).of("source"),
                where,
            )


def families_of(host: str) -> list[str]:
    """Return ``["ip"]`` or ``["ip6"]`` for an address, both for a host name."""
    try:
        return ["ip" if ip_address(host.strip("[]")).version == 4 else "ip6"]
    except ValueError:
        return ["ip", "ip6"]


def _clients(config: Config, backend: str) -> list[str | None]:
    """The namespaces that clients of a backend come in by."""
    found: dict[str | None, None] = {}
    for one in listening(config):
        if backend in inherit.reachable_from(config, one.frontend):
            found[one.namespace] = None
            accept = inherit.accept_proxy(config, one.frontend, one.bind)
            found.update(dict.fromkeys(accept.namespaces if accept else []))
    return list(found)
