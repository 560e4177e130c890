"""What applies to a frontend or backend in the end, after ``[defaults]`` and after what one setting lends another.

Source: HAProxy configuration.txt, "timeout client-fin", "timeout queue", "timeout server-fin", "timeout tunnel".
"""

import math
from dataclasses import dataclass
from typing import TypeVar

from msgspec import UNSET, UnsetType, structs

from twisted_lb.config.model import Backend, Bind, Check, Config, Frontend, Server, Source
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.tcp import ConnectTcp, ListenTcp, Tcp
from twisted_lb.config.units import Duration
from twisted_lb.config.uses import AccessLogUse, Use

T = TypeVar("T", bound=Tcp)

_Setting = Duration | UnsetType | None


@dataclass(frozen=True, slots=True)
class FrontendTimers:
    """Seconds, ``None`` for no limit; fields as in ``FrontendTimeouts``.

    ``client_fin`` differs: ``None`` means that half-closed connections have no timer of their own, so that the one
    that applied before goes on, be it ``client`` or ``tunnel``; ``"off"`` in the file becomes ``math.inf``, which no
    idle time exceeds.
    """

    client: float | None
    client_fin: float | None
    inspect: float | None
    policy: float | None
    http_request: float | None = None
    http_keep_alive: float | None = None
    tarpit: float | None = None


@dataclass(frozen=True, slots=True)
class BackendTimers:
    """Seconds, ``None`` for no limit; fields as in ``BackendTimeouts``. ``queue`` falls back to ``connect``.

    ``server_fin`` and ``tunnel`` are as ``FrontendTimers.client_fin``: ``None`` means that there is no such timer and
    that those of the client and the server go on, ``math.inf`` that there is one which never fires.
    """

    connect: float | None
    queue: float | None
    server: float | None
    server_fin: float | None
    tunnel: float | None


def frontend_timers(config: Config, name: str) -> FrontendTimers:
    """Work out the timers of the frontend of that name."""
    own, defaults = config.frontends[name].timeouts, config.defaults.timeouts
    client = _first(own.client, defaults.client)
    http_request = _first(own.http_request, defaults.http_request, client)
    return FrontendTimers(
        client=client,
        client_fin=_instead(own.client_fin, defaults.client_fin),
        inspect=_first(own.inspect, defaults.inspect),
        policy=_first(own.policy, defaults.policy),
        http_request=http_request,
        http_keep_alive=_first(own.http_keep_alive, defaults.http_keep_alive, http_request),
        tarpit=_first(own.tarpit, defaults.tarpit, defaults.connect),
    )


def backend_timers(config: Config, name: str) -> BackendTimers:
    """Work out the timers of the backend of that name."""
    own, defaults = config.backends[name].timeouts, config.defaults.timeouts
    connect = _first(own.connect, defaults.connect)
    return BackendTimers(
        connect=connect,
        queue=_first(own.queue, defaults.queue, connect),
        server=_first(own.server, defaults.server),
        server_fin=_instead(own.server_fin, defaults.server_fin),
        tunnel=_instead(own.tunnel, defaults.tunnel),
    )


def reachable_from(config: Config, frontend: str) -> list[str]:
    """Name the backends that the frontend of that name can lead to; policies may choose any."""
    settings = config.frontends[frontend]
    if settings.policies:
        return list(config.backends)
    routed = (route.backend for route in settings.routes if route.backend is not None)
    return list(dict.fromkeys((settings.backend, *routed)))


def access_log(config: Config, frontend: str) -> AccessLogUse | None:
    """Find the access log of the frontend of that name; ``None`` if it keeps none."""
    own = config.frontends[frontend].access_log
    use = config.defaults.access_log if own is UNSET else own
    return None if use.use == "none" else use


def balance(config: Config, backend: str) -> Use:
    """Find the balancing algorithm of the backend of that name."""
    own = config.backends[backend].balance
    return config.defaults.balance if own is UNSET else own


def retries(config: Config, backend: str) -> int:
    """How often the backend of that name tries to connect again."""
    own = config.backends[backend].retries
    return config.defaults.retries if own is UNSET else own


def redispatch(config: Config, backend: str) -> int:
    """Which retries of the backend of that name may go to another server: -1 the last, 0 none, N each Nth."""
    own = config.backends[backend].redispatch
    return config.defaults.redispatch if own is UNSET else own


def accept_proxy(config: Config, frontend: str, bind: Bind) -> AcceptProxy | None:
    """Find which headers clients of ``bind``, an entry of the frontend of that name, must send; ``None``: none."""
    setting = config.frontends[frontend].accept_proxy if bind.accept_proxy is UNSET else bind.accept_proxy
    if isinstance(setting, bool):
        return AcceptProxy() if setting else None
    return setting


def send_proxy(backend: Backend, server: Server) -> SendProxy | None:
    """Find which header ``server``, one of ``backend``'s, gets; ``None`` if none."""
    setting = backend.send_proxy if server.send_proxy is UNSET else server.send_proxy
    return setting or None


def check(backend: Backend, server: Server) -> Check | None:
    """Find how ``server``, one of ``backend``'s, is checked; ``None`` if it is not."""
    setting = backend.check if server.check is UNSET else server.check
    if isinstance(setting, bool):
        return Check() if setting else None
    return setting


def check_timeout(config: Config, backend: str, check: Check) -> float:
    """How many seconds one check of a server of the backend of that name may take."""
    if not isinstance(check.timeout, UnsetType):
        return check.timeout
    connect = backend_timers(config, backend).connect
    return check.interval if connect is None else min(connect, check.interval)


def check_send_proxy(backend: Backend, server: Server) -> bool:
    """Whether checks of ``server``, one of ``backend``'s, begin with the header that connections to it begin with."""
    wanted = backend.check_send_proxy if server.check_send_proxy is UNSET else server.check_send_proxy
    return wanted and send_proxy(backend, server) is not None


def listen_tcp(frontend: Frontend, bind: Bind) -> ListenTcp:
    """Find the socket options of ``bind``, one of ``frontend``'s: key by key its own, else the frontend's."""
    return frontend.tcp if isinstance(bind.tcp, UnsetType) else _overlaid(frontend.tcp, bind.tcp)


def connect_tcp(backend: Backend, server: Server) -> ConnectTcp:
    """Find the socket options of connections to ``server``, one of ``backend``'s: key by key."""
    return backend.tcp if isinstance(server.tcp, UnsetType) else _overlaid(backend.tcp, server.tcp)


def source(backend: Backend, server: Server) -> Source | None:
    """Find where connections to ``server``, one of ``backend``'s, come from; ``None``: the kernel chooses."""
    setting = backend.source if isinstance(server.source, UnsetType) else server.source
    return setting or None


def namespace(backend: Backend, server: Server) -> str | None:
    """Find the network namespace that ``server``, one of ``backend``'s, is reached in; ``*`` for the client's."""
    setting = backend.namespace if isinstance(server.namespace, UnsetType) else server.namespace
    return setting or None


def _overlaid(below: T, above: T) -> T:
    """Take each field from ``above`` that is set there, the others from ``below``."""
    own = {key: value for key, value in structs.asdict(above).items() if not isinstance(value, UnsetType)}
    return structs.replace(below, **own)


def _first(*settings: _Setting | float) -> float | None:
    """The first that is set; the last always is."""
    for setting in settings:
        if not isinstance(setting, UnsetType):
            return setting
    raise AssertionError("the last fallback has no value")


def _instead(own: _Setting, default: _Setting) -> float | None:
    """A timer that takes another's place if it is set at all, even to ``"off"``."""
    setting = default if isinstance(own, UnsetType) else own
    if isinstance(setting, UnsetType):
        return None
    return math.inf if setting is None else setting
