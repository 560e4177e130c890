"""What applies to a frontend or backend in the end, after ``[defaults]`` and after what one setting lends another.

Source: HAProxy configuration.txt, "timeout client-fin", "timeout queue", "timeout server-fin", "timeout tunnel".
"""

import math
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from twisted_lb.config.model import AccessLogUse, Config, Use
from twisted_lb.config.units import Duration

_Setting = Duration | UnsetType | None


@dataclass(frozen=True, slots=True)
class FrontendTimers:
    """Seconds, ``None`` for no limit; fields as in ``FrontendTimeouts``. ``client_fin`` falls back to ``client``."""

    client: float | None
    client_fin: float | None
    inspect: float | None
    policy: float | None


@dataclass(frozen=True, slots=True)
class BackendTimers:
    """Seconds, ``None`` for no limit; fields as in ``BackendTimeouts``.

    ``queue`` falls back to ``connect`` and ``server_fin`` to ``server``. ``tunnel`` alone differs: ``None`` means that
    there is no such timer, so that the client's and the server's apply to the relay; ``"off"`` in the file means that
    the relay may be idle for ever and becomes ``math.inf``, which no idle time exceeds.
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
    return FrontendTimers(
        client=client,
        client_fin=_first(own.client_fin, defaults.client_fin, client),
        inspect=_first(own.inspect, defaults.inspect),
        policy=_first(own.policy, defaults.policy),
    )


def backend_timers(config: Config, name: str) -> BackendTimers:
    """Work out the timers of the backend of that name."""
    own, defaults = config.backends[name].timeouts, config.defaults.timeouts
    connect = _first(own.connect, defaults.connect)
    server = _first(own.server, defaults.server)
    tunnel = own.tunnel if own.tunnel is not UNSET else defaults.tunnel
    return BackendTimers(
        connect=connect,
        queue=_first(own.queue, defaults.queue, connect),
        server=server,
        server_fin=_first(own.server_fin, defaults.server_fin, server),
        tunnel=None if tunnel is UNSET else math.inf if tunnel is None else tunnel,
    )


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


def _first(*settings: _Setting | float) -> float | None:
    """The first that is set; the last always is."""
    for setting in settings:
        if not isinstance(setting, UnsetType):
            return setting
    raise AssertionError("the last fallback has no value")
