"""The configuration as frozen structs; their shape is the file's shape.

Every field is documented for operators in ``docs/reference/configuration.md``; a test compares the two.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from twisted_lb.config.units import Duration


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the file: immutable, and strict about its keys."""


class Use(Section):
    """A plugin's supply picked by name: ``"name"``, or a table with ``use`` and the supply's options beside it."""

    use: str
    options: dict[str, Any] = {}


class AccessLogUse(Use):
    """As ``Use``, with ``path``: the file that the lines go to, standard output when ``None``.

    The name ``none`` is reserved: no access log.
    """

    path: str | None = None


class FrontendTimeouts(Section):
    """What a frontend waits for; ``None`` means for ever (``"off"`` in the file), unset means inherited."""

    client: Duration | UnsetType | None = UNSET
    client_fin: Duration | UnsetType | None = UNSET
    inspect: Duration | UnsetType | None = UNSET
    policy: Duration | UnsetType | None = UNSET


class BackendTimeouts(Section):
    """What a backend waits for; ``None`` means for ever (``"off"`` in the file), unset means inherited."""

    connect: Duration | UnsetType | None = UNSET
    queue: Duration | UnsetType | None = UNSET
    server: Duration | UnsetType | None = UNSET
    server_fin: Duration | UnsetType | None = UNSET
    tunnel: Duration | UnsetType | None = UNSET


class Timeouts(Section):
    """``defaults.timeouts``: the values that frontends and backends inherit."""

    client: Duration | None = Duration(30)
    client_fin: Duration | UnsetType | None = UNSET
    inspect: Duration | None = Duration(5)
    policy: Duration | None = Duration(5)
    connect: Duration | None = Duration(5)
    queue: Duration | UnsetType | None = UNSET
    server: Duration | None = Duration(30)
    server_fin: Duration | UnsetType | None = UNSET
    tunnel: Duration | UnsetType | None = UNSET


class Process(Section):
    """``[process]``: what concerns the whole process."""

    maxconn: int | None = None
    graceful_stop: Duration = Duration(30)
    log_format: Literal["text", "json"] = "text"
    log_file: str | None = None
    log_level: Literal["debug", "info", "warn", "error", "critical"] = "info"


class Defaults(Section):
    """``[defaults]``: what every frontend and backend inherits."""

    timeouts: Timeouts = Timeouts()
    access_log: AccessLogUse = AccessLogUse(use="text")
    balance: Use = Use(use="round_robin")
    retries: int = 3
    redispatch: int = -1


class Bind(Section):
    """An entry of a frontend's ``bind``: an address, or a table with ``address`` and what differs for it."""

    address: str
    maxconn: int | None = None
    backlog: int = 1024
    mode: str | None = None
    user: str | None = None
    group: str | None = None


class Frontend(Section):
    """``[frontends.NAME]``: where clients come in."""

    bind: list[Bind]
    backend: str
    mode: Literal["tcp"] = "tcp"
    maxconn: int | None = None
    timeouts: FrontendTimeouts = FrontendTimeouts()
    validators: list[Use] = []
    policies: list[Use] = []
    observers: list[Use] = []
    access_log: AccessLogUse | UnsetType = UNSET


class Server(Section):
    """An entry of a backend's ``servers``: an address, or a table with ``address`` and what differs for it."""

    address: str
    weight: int = 1
    maxconn: int = 0


class Backend(Section):
    """``[backends.NAME]``: where connections go."""

    servers: dict[str, Server]
    balance: Use | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    redispatch: int | UnsetType = UNSET
    timeouts: BackendTimeouts = BackendTimeouts()


class Config(Section):
    """The whole file."""

    frontends: dict[str, Frontend]
    backends: dict[str, Backend]
    process: Process = Process()
    defaults: Defaults = Defaults()
    plugins: list[str] = []
    disabled_plugins: list[str] = []
