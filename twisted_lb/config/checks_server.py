"""What must hold between the settings of servers and backends that say how connections are made."""

from collections.abc import Iterator

from msgspec import UNSET

from twisted_lb.config import inherit
from twisted_lb.config.addresses import (
    ClientDestination,
    EndpointDescription,
    IpServer,
    UnixAbstract,
    UnixPath,
    parse_server,
    parse_source,
)
from twisted_lb.config.convert import INVALID, join
from twisted_lb.config.http import Forwarded
from twisted_lb.config.keys import ServerKeys
from twisted_lb.config.model import Backend, Config, Frontend, Server, Source
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.errors import ConfigError


def check_source(where: str, source: object) -> Iterator[str]:
    """Find what is wrong in a ``source`` as such."""
    if not isinstance(source, Source) or source.address is INVALID:
        return
    if source.address is not None:
        try:
            parse_source(source.address)
        except ConfigError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)
    elif source.transparent is True:
        yield f"{where}.transparent: without an address there is none that could be another's"
    elif source.interface is None:
        yield f"{where}: write an address or an interface; for the kernel's choice leave it out, or write false"


def check_server_network(where: str, backend: Backend, server: Server) -> Iterator[str]:
    """Where connections come from and go through has a meaning for IP only, and a check has no client."""
    if INVALID in (server.source, server.namespace, server.tcp, backend.source, backend.namespace, backend.tcp):
        return
    try:
        parsed = parse_server(server.address)
    except ConfigError:
        return
    namespace, check = inherit.namespace(backend, server), inherit.check(backend, server)
    if isinstance(parsed, IpServer | ClientDestination) and namespace == "*" and check is not None:
        yield f'{where}: namespace = "*" is the client\'s, and a check has no client: write check = false'
    if isinstance(parsed, EndpointDescription):
        kind, why = "a Twisted endpoint", "which makes its own connections"
    elif isinstance(parsed, UnixPath | UnixAbstract):
        kind, why = "a Unix socket", "which has none"
    else:
        return
    for key, of_backend in (("source", inherit.source(backend, server)), ("namespace", namespace)):
        if getattr(server, key):
            yield f"{where}.{key}: the server is {kind}, {why}: leave it out"
        elif key == "namespace" and of_backend is not None and isinstance(parsed, UnixAbstract):
            # What it names is another socket in each namespace, and it is looked up in the process's own.
            yield f"{where}.{key}: the server is {kind} of the process's own namespace: write {key} = false here"
        elif of_backend is not None and (kind == "a Twisted endpoint" or _is_of_clients(of_backend)):
            yield f"{where}.{key}: the server is {kind}, {why}: write {key} = false here, or take it from the backend"
    if server.tcp not in (UNSET, ConnectTcp()):
        yield f"{where}.tcp: the server is {kind}, {why}: leave it out"
    elif kind == "a Twisted endpoint" and backend.tcp != ConnectTcp():
        yield f"{where}.tcp: the server is {kind}, {why}: write the backend's tcp with its other servers"


def _is_of_clients(setting: object) -> bool:
    """Whether a server that silently did without it would see another client than it was promised."""
    return isinstance(setting, Source) and (setting.address in ("client", "client_ip") or _header_of(setting) != "")


def _header_of(setting: object) -> str:
    """The name of the field that connections have their address from; empty if they have it from elsewhere."""
    address = setting.address if isinstance(setting, Source) else None
    return address.removeprefix("header:") if isinstance(address, str) and address.startswith("header:") else ""


def check_header_sources(config: Config) -> Iterator[str]:
    """Addresses in requests need requests, and somebody who is believed: any client could write any address."""
    if config.frontends is INVALID or config.backends is INVALID:
        return
    for name, frontend in config.frontends.items():
        if frontend is INVALID or INVALID in (name, frontend.mode, frontend.forwarded, frontend.routes):
            continue
        believes = isinstance(frontend.forwarded, Forwarded) and bool(frontend.forwarded.except_)
        for key, backend in _leading(frontend):
            for source, header in _header_sources(config, backend).items():
                if frontend.mode != "http":
                    yield f"frontends.{name}.{key}: {source} is an address in requests, which only HTTP mode sees"
                elif not believes:
                    yield (
                        f"frontends.{name}.forwarded: {source} is the address in {header}, which any client can write:"
                        " write forwarded = { except = [...] } with the proxies before this one, whose word counts"
                    )


def _leading(frontend: Frontend) -> Iterator[tuple[str, str]]:
    """The keys that name a backend, each with its name."""
    yield "backend", frontend.backend
    for index, route in enumerate(frontend.routes):
        if route is not INVALID and isinstance(route.backend, str):
            yield f"routes[{index}].backend", route.backend


def _header_sources(config: Config, name: str) -> dict[str, str]:
    """The keys of a backend's sources that are addresses in requests, each with the field's name."""
    backend = config.backends.get(name, INVALID)
    if backend is INVALID or backend.servers is INVALID:
        return {}
    found: dict[str, str] = {}
    for server_name, server in backend.servers.items():
        if server is not INVALID and INVALID not in (server_name, server.source, backend.source):
            header = _header_of(inherit.source(backend, server))
            if header:
                found[ServerKeys(join("backends", name), server_name, server).of("source")] = header
    return found
