"""What must hold for HTTP mode: settings that have no effect elsewhere, routes, and edits of fields; see ``checks``.

Each problem starts with its key.
"""

from collections.abc import Iterable, Iterator

import msgspec

from twisted_lb.config.convert import INVALID, join
from twisted_lb.config.hints import unknown_name
from twisted_lb.config.http import Fields, Forwarded
from twisted_lb.config.model import Backend, Config, Frontend, Route
from twisted_lb.config.timeouts import FrontendTimeouts
from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks
from twisted_lb.routing import Routes, Rule
from twisted_lb.wire.http1_target import read_authority

_OF_FRONTENDS = (
    *("max_head", "max_fields", "accept_invalid_http_request", "accept_payload_with_any_method"),
    *("restrict_header_names", "forwarded", "via", "request_headers", "response_headers", "error_files"),
    *("json_errors", "monitor_uri", "reject_unknown_hosts", "min_rate", "buffer_request", "body_filters"),
)
_OF_TIMEOUTS = ("http_request", "http_keep_alive")
_OF_ROUTES = ("host", "path", "path_prefix", "path_regex", "method", "headers")
_OF_BACKENDS = (
    *("http_reuse", "http_server_close", "pool", "accept_invalid_http_response"),
    *("request_headers", "response_headers"),
)

_FRAMING = frozenset(("content-length", "transfer-encoding"))
_OF_CONNECTION = frozenset(
    ("connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te", "trailer")
)


def check_http_frontend(where: str, frontend: Frontend, config: Config) -> Iterator[str]:
    """Find what does not fit the frontend's mode, its routes, or what it does to fields."""
    if frontend.mode == "http":
        yield from _check_fields(f"{where}.request_headers", frontend.request_headers, request=True)
        yield from _check_fields(f"{where}.response_headers", frontend.response_headers, request=False)
        if frontend.reject_unknown_hosts and not any(route.host for route in _valid(frontend.routes)):
            yield f"{where}.reject_unknown_hosts: no route names a host, so every host would be unknown"
        yield from _check_excepted(f"{where}.forwarded.except", frontend.forwarded)
    else:
        yield from _only_for_http(where, frontend, Frontend, _OF_FRONTENDS)
        yield from _only_for_http(f"{where}.timeouts", frontend.timeouts, FrontendTimeouts, _OF_TIMEOUTS)
    yield from _check_routes(where, frontend, config)


def _check_excepted(where: str, forwarded: object) -> Iterator[str]:
    if isinstance(forwarded, Forwarded):
        try:
            Networks.parse([entry for entry in forwarded.except_ if entry is not INVALID])
        except ConfigError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)


def _check_routes(where: str, frontend: Frontend, config: Config) -> Iterator[str]:
    if frontend.routes is INVALID:
        return
    rules: list[tuple[Rule, None]] = []
    for index, route in enumerate(frontend.routes):
        if route is INVALID:
            return
        at = f"{where}.routes[{index}]"
        yield from _check_target(at, route, frontend, config)
        if frontend.mode == "tcp":
            yield from _only_for_http(at, route, Route, _OF_ROUTES)
        if not _whole(route):
            return
        rules.append((rule_of(route), None))
    if frontend.mode not in ("tcp", "http"):
        return
    try:
        Routes(rules, None, http=frontend.mode == "http")
    except ConfigError as error:
        yield from (f"{where}.{problem}" for problem in error.problems)


def rule_of(route: Route) -> Rule:
    """Return the conditions of a route."""
    return Rule(route.host, route.path, route.path_prefix, route.path_regex, route.method, route.headers, route.facts)


def _check_target(at: str, route: Route, frontend: Frontend, config: Config) -> Iterator[str]:
    refused = route.refuse is not False
    if (route.backend is None) != refused:
        what = "one of backend and refuse is enough" if refused else "give a backend, or refuse = true"
        yield f"{at}: where to? {what}"
    elif route.backend is not None and config.backends is not INVALID and route.backend not in config.backends:
        known = [name for name in config.backends if name is not INVALID]
        yield f'{at}.backend: there is no backend "{route.backend}"{unknown_name(route.backend, known)}'
    if frontend.mode == "tcp" and refused and route.refuse is not True:
        yield f'{at}.refuse: a status needs mode = "http"; write true'


def _valid(routes: Iterable[Route]) -> Iterator[Route]:
    if routes is not INVALID:
        yield from (route for route in routes if route is not INVALID)


def _whole(route: Route) -> bool:
    """Whether every part of it was right by itself."""
    lists = (route.host, route.path, route.path_prefix, route.method)
    tables = (route.headers, route.facts)
    texts = [
        *(one for values in lists for one in values),
        *(one for table in tables for pair in table.items() for one in pair),
    ]
    return INVALID not in texts


def check_http_backends(config: Config) -> Iterator[str]:
    """Find settings of HTTP on backends that only frontends in TCP mode use."""
    if INVALID in (config.frontends, config.backends):
        return
    users: dict[str, set[str]] = {}
    for frontend in config.frontends.values():
        if frontend is INVALID:
            return
        if frontend.mode == "http" and frontend.policies:
            return  # they may choose any backend
        for name in (frontend.backend, *(route.backend for route in _valid(frontend.routes))):
            if isinstance(name, str):
                users.setdefault(name, set()).add(frontend.mode)
    for name, backend in config.backends.items():
        if backend is not INVALID and users.get(name) == {"tcp"}:
            yield from _only_for_http(join("backends", name), backend, Backend, _OF_BACKENDS)


def check_http_backend(where: str, backend: Backend) -> Iterator[str]:
    """Find edits of fields that are not for a setting to make."""
    yield from _check_fields(f"{where}.request_headers", backend.request_headers, request=True)
    yield from _check_fields(f"{where}.response_headers", backend.response_headers, request=False)


def _only_for_http(
    where: str, section: msgspec.Struct, struct: type[msgspec.Struct], keys: Iterable[str]
) -> Iterator[str]:
    defaults = {field.name: _default(field) for field in msgspec.structs.fields(struct)}
    for key in keys:
        if getattr(section, key) != defaults[key]:
            user = "only frontends in TCP mode use this backend" if struct is Backend else 'only in mode = "http"'
            yield f"{where}.{key}: {'has an effect in HTTP, and ' if struct is Backend else ''}{user}"


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _check_fields(where: str, fields: Fields, *, request: bool) -> Iterator[str]:
    """Framing is the proxy's; so is what belongs to one connection; and every request keeps exactly one Host."""
    if not isinstance(fields, Fields):
        return
    for key in ("remove", "set", "add"):
        for name in getattr(fields, key):
            if name is INVALID:
                continue
            low = name.lower()
            at = f"{where}.{key}" if key == "remove" else join(f"{where}.{key}", name)
            if low in _FRAMING:
                yield f"{at}: {name} says where a message ends, which is for the proxy alone to say"
            elif low in _OF_CONNECTION:
                yield f"{at}: {name} belongs to one connection, and is written anew for each"
            elif request and low == "host" and key != "set":
                yield f"{at}: a request has exactly one Host: set it, or leave it"
            elif request and low == "host" and read_authority(fields.set[name].encode()) is None:
                yield f'{at}: neither HOST nor HOST:PORT: "{fields.set[name]}"'
