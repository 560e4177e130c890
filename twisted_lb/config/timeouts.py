"""What is waited for, and for how long."""

from msgspec import UNSET, UnsetType

from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration


class FrontendTimeouts(Section, frozen=True, kw_only=True):
    """What a frontend waits for; ``None`` means for ever (``"off"`` in the file), unset means inherited."""

    client: Duration | UnsetType | None = UNSET
    client_fin: Duration | UnsetType | None = UNSET
    inspect: Duration | UnsetType | None = UNSET
    policy: Duration | UnsetType | None = UNSET
    http_request: Duration | UnsetType | None = UNSET
    http_keep_alive: Duration | UnsetType | None = UNSET
    tarpit: Duration | UnsetType | None = UNSET


class BackendTimeouts(Section, frozen=True, kw_only=True):
    """What a backend waits for; ``None`` means for ever (``"off"`` in the file), unset means inherited."""

    connect: Duration | UnsetType | None = UNSET
    queue: Duration | UnsetType | None = UNSET
    server: Duration | UnsetType | None = UNSET
    server_fin: Duration | UnsetType | None = UNSET
    tunnel: Duration | UnsetType | None = UNSET


class Timeouts(Section, frozen=True, kw_only=True):
    """``defaults.timeouts``: the values that frontends and backends inherit."""

    client: Duration | None = Duration(30)
    client_fin: Duration | UnsetType | None = UNSET
    inspect: Duration | None = Duration(5)
    policy: Duration | None = Duration(5)
    http_request: Duration | UnsetType | None = UNSET
    http_keep_alive: Duration | UnsetType | None = UNSET
    tarpit: Duration | UnsetType | None = UNSET
    connect: Duration | None = Duration(5)
    queue: Duration | UnsetType | None = UNSET
    server: Duration | None = Duration(30)
    server_fin: Duration | UnsetType | None = UNSET
    tunnel: Duration | UnsetType | None = UNSET
