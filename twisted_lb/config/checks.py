"""What must hold between several settings, or cannot be said by a type; run over what ``convert`` could build."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from twisted_lb.config import inherit
from twisted_lb.config.addresses import (
    BindAddress,
    ClientDestination,
    IpAddress,
    IpServer,
    UnixPath,
    parse_bind,
    parse_server,
)
from twisted_lb.config.checks_bind import CLIENTS, check_bind_network, check_frontend_tcp
from twisted_lb.config.checks_http import check_http_backend, check_http_backends, check_http_frontend
from twisted_lb.config.checks_policies import check_policies
from twisted_lb.config.checks_server import check_header_sources, check_server_network, check_source
from twisted_lb.config.checks_validators import check_validators
from twisted_lb.config.convert import INVALID, join
from twisted_lb.config.hints import unknown_name
from twisted_lb.config.model import Backend, Bind, Check, Config, Frontend, Server
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.tlvs import forwarded_types, own_tlvs
from twisted_lb.config.units import Duration
from twisted_lb.config.uses import AccessLogUse
from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks

S = TypeVar("S")
T = TypeVar("T")


def problems_in(config: Config) -> Iterator[str]:
    """Find what is wrong in a configuration whose single values are right or ``INVALID``; each starts with its key."""
    if config is INVALID:
        return
    listeners: list[tuple[_Network, str, BindAddress]] = []
    for where, frontend in _entries(config.frontends, "frontends"):
        yield from _check_frontend(where, frontend, config)
        for bind_where, bind in _binds(where, frontend):
            parsed, problems = _parsed(parse_bind, bind.address, bind_where)
            yield from problems
            if parsed is not None:
                yield from _check_unix_settings(bind_where, bind, parsed)
                yield from check_bind_network(bind_where, bind, parsed, frontend)
                listeners.append((_network_of(bind), bind_where, parsed))
            yield from _check_accept_proxy(f"{bind_where}.accept_proxy", bind.accept_proxy)
        yield from check_frontend_tcp(where, frontend)
        yield from check_http_frontend(where, frontend, config)
        yield from check_policies(where, frontend)
        yield from check_validators(where, frontend)
    yield from _check_clashes(listeners)
    for where, backend in _entries(config.backends, "backends"):
        yield from _check_backend(where, backend)
        yield from check_http_backend(where, backend)
    yield from check_http_backends(config)
    yield from check_header_sources(config)
    yield from _check_timeouts("defaults.timeouts", config.defaults.timeouts)
    yield from _check_access_log("defaults.access_log", config.defaults.access_log)


def _entries(tables: dict[str, T], where: str) -> Iterator[tuple[str, T]]:
    """Walk a table of tables, without what was wrong in itself."""
    if tables is INVALID:
        return
    for name, entry in tables.items():
        if name is not INVALID and entry is not INVALID:
            yield join(where, name), entry


def _binds(where: str, frontend: Frontend) -> Iterator[tuple[str, Bind]]:
    if frontend.bind is INVALID:
        return
    for index, bind in enumerate(frontend.bind):
        if bind is not INVALID and bind.address is not INVALID:
            yield f"{where}.bind[{index}]", bind


def _check_frontend(where: str, frontend: Frontend, config: Config) -> Iterator[str]:
    backends = config.backends
    if frontend.backend is not INVALID and backends is not INVALID and frontend.backend not in backends:
        known = [name for name in backends if name is not INVALID]
        yield f'{where}.backend: there is no backend "{frontend.backend}"{unknown_name(frontend.backend, known)}'
    yield from _check_timeouts(f"{where}.timeouts", frontend.timeouts)
    if isinstance(frontend.access_log, AccessLogUse):
        yield from _check_access_log(f"{where}.access_log", frontend.access_log)
    yield from _check_accept_proxy(f"{where}.accept_proxy", frontend.accept_proxy)


def _check_backend(where: str, backend: Backend) -> Iterator[str]:
    for server_where, server in _entries(backend.servers, f"{where}.servers"):
        if server.address is not INVALID:
            yield from _parsed(parse_server, server.address, server_where)[1]
            yield from _check_checked_port(server_where, server, inherit.check(backend, server))
            yield from check_server_network(server_where, backend, server)
        yield from check_source(f"{server_where}.source", server.source)
        yield from _check_send_proxy(f"{server_where}.send_proxy", server.send_proxy)
        yield from _check_check(f"{server_where}.check", server.check)
        if server.check_send_proxy is True:
            yield from _check_check_send_proxy(f"{server_where}.check_send_proxy", backend, [server])
    yield from check_source(f"{where}.source", backend.source)
    yield from _check_timeouts(f"{where}.timeouts", backend.timeouts)
    yield from _check_send_proxy(f"{where}.send_proxy", backend.send_proxy)
    yield from _check_check(f"{where}.check", backend.check)
    if backend.check_send_proxy is True:
        servers = [server for _, server in _entries(backend.servers, "")]
        yield from _check_check_send_proxy(f"{where}.check_send_proxy", backend, servers)


def _parsed(parse: Callable[[S], T], text: S, where: str) -> tuple[T | None, list[str]]:
    try:
        return parse(text), []
    except ConfigError as error:
        return None, [f"{where}: {problem}" for problem in error.problems]


def _check_unix_settings(where: str, bind: Bind, address: BindAddress) -> Iterator[str]:
    """A file's mode and owner make sense for a file only."""
    if isinstance(address, UnixPath):
        return
    for key in ("mode", "user", "group"):
        if getattr(bind, key) is not None:
            yield f'{where}.{key}: only a Unix socket with a path has one, and "{bind.address}" is not'


def _check_timeouts(where: str, timeouts: msgspec.Struct) -> Iterator[str]:
    """HAProxy takes 0 for "for ever" and many read it as "at once", so neither."""
    for key in timeouts.__struct_fields__:
        if getattr(timeouts, key) == 0:
            yield f'{where}.{key}: a timeout cannot be 0; for no limit write "off"'


def _check_access_log(where: str, use: AccessLogUse) -> Iterator[str]:
    if use.use == "none" and (use.options or use.path is not None):
        yield f'{where}: "none" writes no access log, so nothing else can be set beside it'


def _check_accept_proxy(where: str, accept: object) -> Iterator[str]:
    if not isinstance(accept, AcceptProxy):
        return
    if not accept.timeout:
        yield f"{where}.timeout: cannot be 0: no header comes at once"
    versions = [version for version in accept.versions if version is not INVALID]
    for version in sorted({version for version in versions if versions.count(version) > 1}):
        yield f'{where}.versions: "{version}" is there twice'
    if accept.others is not None and not accept.from_:
        # "others" alone would read as if somebody were kept out.
        yield f'{where}.others: without "from" there are no others: every client must send a header'
    names = [name for name in accept.namespaces if name is not INVALID]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f'{where}.namespaces: "{name}" is there twice'
    if CLIENTS in names:
        yield f'{where}.namespaces: "*" is the client\'s, and that is what is chosen here: list the names that may be'
    if names and versions == ["v1"]:
        yield f"{where}.namespaces: a v1 header has no room for a namespace: let versions have v2"
    networks = [entry for entry in accept.from_ if entry is not INVALID]
    yield from _parsed(Networks.parse, networks, f"{where}.from")[1]


def _check_send_proxy(where: str, send: object) -> Iterator[str]:
    if not isinstance(send, SendProxy):
        return
    for key in ("tlvs", "forward_tlvs", "proxy_v2_options"):
        if send.version == "v1" and getattr(send, key):
            yield f'{where}.{key}: a v1 header has no room for it: write version = "v2"'
    clean = msgspec.structs.replace(
        send,
        tlvs={name: text for name, text in send.tlvs.items() if text is not INVALID},
        forward_tlvs=[name for name in send.forward_tlvs if name is not INVALID],
    )
    for read in (own_tlvs, forwarded_types):
        try:
            read(clean)
        except ConfigError as error:
            yield from (f"{where}.{problem}" for problem in error.problems)


def _check_check(where: str, check: object) -> Iterator[str]:
    if not isinstance(check, Check):
        return
    if not check.interval:
        yield f"{where}.interval: cannot be 0: there would be one check after the other"
    if isinstance(check.timeout, Duration) and not check.timeout:
        yield f"{where}.timeout: cannot be 0: no server answers at once"


def _check_checked_port(where: str, server: Server, check: Check | None) -> Iterator[str]:
    """A check has no client whose port could be followed; a server without a port has none to replace."""
    parsed = _parsed(parse_server, server.address, where)[0]
    if parsed is None or check is None:
        return
    if isinstance(parsed, ClientDestination):
        yield f'{where}: "{server.address}" is where the client wanted to go, and a check has none: write check = false'
    elif isinstance(parsed, IpServer):
        if parsed.port is None and check.port is None:
            yield (
                f'{where}: the port of "{server.address}" depends on the client, and a check has none:'
                " write check = { port = N }, or check = false"
            )
    elif check.port is not None:
        yield f'{where}: check.port = {check.port} does not fit "{server.address}", which has no port of that kind'


def _check_check_send_proxy(where: str, backend: Backend, servers: list[Server]) -> Iterator[str]:
    """A setting that could never have an effect is a mistake."""
    if not servers:
        return
    if all(inherit.send_proxy(backend, server) is None for server in servers):
        yield f"{where}: there is no send_proxy that would say which header"
    elif not any(inherit.check(backend, server) and inherit.send_proxy(backend, server) for server in servers):
        yield f"{where}: there is no check that could begin with a header"


_Network = tuple[str | None, str | None]


def _network_of(bind: Bind) -> _Network:
    """Listeners of different namespaces, or tied to different interfaces, may have the same address."""
    return bind.namespace, bind.interface


def _check_clashes(listeners: list[tuple[_Network, str, BindAddress]]) -> Iterator[str]:
    """Two listeners cannot have the same address; for ports, ranges that overlap."""
    seen: dict[Any, str] = {}
    ranges: dict[tuple[_Network, str], list[tuple[int, int, str]]] = {}
    for network, where, address in listeners:
        if isinstance(address, IpAddress):
            if address.high:
                ranges.setdefault((network, address.host), []).append((address.low, address.high, where))
        elif (network, address) in seen:
            yield f"{where}: the same address is in {seen[network, address]}"
        else:
            seen[network, address] = where
    for (_, host), entries in ranges.items():
        yield from _check_overlaps(host, entries)


def _check_overlaps(host: str, entries: list[tuple[int, int, str]]) -> Iterator[str]:
    """Sweep over one host's ranges by their first port; the widest so far is the one to run into."""
    last_high, last_where = 0, ""
    for low, high, where in sorted(entries, key=lambda entry: entry[0]):
        if low <= last_high:
            yield f"{where}: port {low} of {host} is in {last_where} too"
        if high > last_high:
            last_high, last_where = high, where
