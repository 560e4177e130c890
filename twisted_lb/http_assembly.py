"""What the settings of HTTP mode become."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import UnsetType

from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.config.http import BufferRequest, Fields, Forwarded, MinRate
from twisted_lb.config.inherit import reachable_from
from twisted_lb.config.model import Backend, Config, Frontend
from twisted_lb.errors import ConfigError
from twisted_lb.frontend import HttpFrontend
from twisted_lb.networks import Networks
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.body_filter import BuiltFilters
from twisted_lb.stages.body_rate import LeastRate
from twisted_lb.stages.request_buffer import Buffering
from twisted_lb.wire.http1 import Edit, ForwardPlan, ForwardSettings, Http1Settings, Speaking

MAX_ERROR_FILE = 64 * 1024
"""Bytes of an error page; it is held in memory, and may be sent to anybody."""

PAGE_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".htm": b"text/html; charset=utf-8",
    ".json": b"application/json",
    ".txt": b"text/plain; charset=utf-8",
}
"""The type of an error page by the end of its file's name."""


def http_frontend(config: Config, name: str, filters: BuiltFilters = ()) -> HttpFrontend:
    """Make the HTTP side of the frontend of that name. Raises: ConfigError, with keys that are relative to it."""
    settings = config.frontends[name]
    forwarded = _forwarded(settings)
    plans = {one: ForwardPlan(_plan(settings, forwarded, config.backends[one])) for one in reachable_from(config, name)}
    parsing = Http1Settings(
        max_head_bytes=settings.max_head,
        max_fields=settings.max_fields,
        accept_invalid=settings.accept_invalid_http_request,
        body_with_any_method=settings.accept_payload_with_any_method,
        odd_names=settings.restrict_header_names,
    )
    edits = tuple(_edits(settings.response_headers))
    return HttpFrontend(
        parsing,
        Answers(_pages(settings.error_files), settings.json_errors, edits),
        plans,
        _excepted(settings),
        _bodies(config, settings, filters),
        _least_rate(settings.min_rate),
        None if settings.monitor_uri is None else settings.monitor_uri.encode(),
    )


def believed(config: Config) -> dict[str, Networks]:
    """Find, by frontend, the proxies whose word about their clients counts there."""
    found = {name: _excepted(settings) for name, settings in config.frontends.items() if settings.mode == "http"}
    return {name: networks for name, networks in found.items() if networks is not None}


def _excepted(settings: Frontend) -> Networks | None:
    forwarded = _forwarded(settings)
    return Networks.parse(forwarded.except_) if forwarded is not None and forwarded.except_ else None


def _bodies(config: Config, frontend: Frontend, filters: BuiltFilters) -> Bodies | None:
    setting = frontend.buffer_request
    if setting is False:
        return Bodies(filters) if filters else None
    limits = BufferRequest() if setting is True else setting
    http_request = frontend.timeouts.http_request
    if isinstance(http_request, UnsetType):
        http_request = config.defaults.timeouts.http_request
    absolute = isinstance(http_request, float)
    # Who lowers ``max`` need not know what ``memory`` is.
    return Bodies(filters, Buffering(min(limits.memory, limits.max), limits.max, absolute))


def _least_rate(setting: MinRate | None) -> LeastRate | None:
    return None if setting is None else LeastRate(setting.rate, setting.after)


def http_backend(settings: Backend) -> HttpBackend:
    """Make the HTTP side of a backend."""
    return HttpBackend(
        parsing=Http1Settings(accept_invalid=settings.accept_invalid_http_response),
        reuse=settings.http_reuse,
        server_close=settings.http_server_close,
        maximum=settings.pool.max,
        idle_s=settings.pool.idle_timeout,
    )


def _forwarded(settings: Frontend) -> Forwarded | None:
    if isinstance(settings.forwarded, bool):
        return Forwarded() if settings.forwarded else None
    return settings.forwarded


def _plan(frontend: Frontend, forwarded: Forwarded | None, backend: Backend) -> ForwardSettings:
    return ForwardSettings(
        speaking=Speaking() if forwarded is None else _speaking(forwarded),
        via=(frontend.via or "").encode(),
        close_server=backend.http_server_close,
        request_edits=(*_edits(frontend.request_headers), *_edits(backend.request_headers)),
        response_edits=(*_edits(backend.response_headers), *_edits(frontend.response_headers)),
    )


def _speaking(forwarded: Forwarded) -> Speaking:
    return Speaking(
        x_forwarded_for=forwarded.x_forwarded_for,
        x_forwarded_proto=forwarded.x_forwarded_proto,
        x_forwarded_host=forwarded.x_forwarded_host,
        x_forwarded_port=forwarded.x_forwarded_port,
        forwarded=forwarded.rfc7239,
    )


def _edits(fields: Fields) -> Iterator[Edit]:
    for name in fields.remove:
        yield Edit("remove", name.encode())
    for name, value in fields.set.items():
        yield Edit("set", name.encode(), value.encode())
    for name, value in fields.add.items():
        yield Edit("add", name.encode(), value.encode())


def _pages(files: Mapping[str, str]) -> dict[int, tuple[bytes, bytes]]:
    pages: dict[int, tuple[bytes, bytes]] = {}
    problems: list[str] = []
    for status, path in files.items():
        kind = PAGE_TYPES.get(Path(path).suffix.lower())
        if kind is None:
            problems.append(f"error_files.{status}: {path} must end with {', '.join(PAGE_TYPES)}: it tells the type")
            continue
        try:
            with Path(path).open("rb") as file:
                page = file.read(MAX_ERROR_FILE + 1)
        except OSError as error:
            problems.append(f"error_files.{status}: {path}: {error.strerror}")
            continue
        if len(page) > MAX_ERROR_FILE:
            problems.append(f"error_files.{status}: {path} has more than {MAX_ERROR_FILE} bytes")
        pages[int(status)] = page, kind
    if problems:
        raise ConfigError(*problems)
    return pages
