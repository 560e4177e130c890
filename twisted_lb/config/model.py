"""The configuration as frozen structs; their shape is the file's shape.

Every field is documented for operators in ``docs/reference/configuration.md``; a test compares the two. What a single
value must be stands in its annotation, see ``values``; what spans several is in ``checks``.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from twisted_lb.config.http import BufferRequest, Fields, Forwarded, MinRate, Pool
from twisted_lb.config.policies import Policy
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.section import Section
from twisted_lb.config.tcp import ConnectTcp, ListenTcp
from twisted_lb.config.timeouts import BackendTimeouts, FrontendTimeouts, Timeouts
from twisted_lb.config.units import Duration, Size
from twisted_lb.config.uses import (
    AccessLog,
    AccessLogUse,
    Balancer,
    BodyFilter,
    Observer,
    TableStore,
    TableStoreUse,
    Use,
    Validator,
)
from twisted_lb.config.values import (
    AtLeastOne,
    FieldName,
    FileMode,
    FilePath,
    InterfaceName,
    ListName,
    Name,
    NamespaceName,
    Port,
    Redispatch,
    Status,
    TableName,
    Target,
    Texts,
    Weight,
    ZeroOrMore,
)


class ListFile(Section, frozen=True, kw_only=True):
    """An entry of ``lists``: a file with one entry a line; a path, or a table with ``file``."""

    short_form: ClassVar[str] = "file"

    file: FilePath


class Process(Section, frozen=True, kw_only=True):
    """``[process]``: what concerns the whole process."""

    maxconn: AtLeastOne | None = None
    graceful_stop: Duration = Duration(30)
    log_format: Literal["text", "json"] = "text"
    log_file: FilePath | None = None
    log_level: Literal["debug", "info", "warn", "error", "critical"] = "info"


class Defaults(Section, frozen=True, kw_only=True):
    """``[defaults]``: what every frontend and backend inherits."""

    timeouts: Timeouts = Timeouts()
    access_log: AccessLog = AccessLogUse(use="text", where="defaults.access_log")
    balance: Balancer = Use(use="round_robin", where="defaults.balance")
    retries: ZeroOrMore = 3
    redispatch: Redispatch = -1


class Source(Section, frozen=True, kw_only=True):
    """``source``: the address that servers see connections come from; an address, or a table with ``address``.

    ``address``: see ``parse_source``; ``None`` for the kernel's choice. ``transparent``: it need not be one of ours.
    """

    short_form: ClassVar[str] = "address"

    address: str | None = None
    transparent: bool = False
    interface: InterfaceName | None = None


class Check(Section, frozen=True, kw_only=True):
    """``check``: how a server's health is checked; HAProxy's ``inter``, ``rise``, ``fall`` and ``port``.

    ``timeout``: unset means the lesser of the backend's ``timeouts.connect`` and ``interval``. ``port``: ``None`` for
    the server's own.
    """

    interval: Duration = Duration(2)
    rise: AtLeastOne = 2
    fall: AtLeastOne = 3
    timeout: Duration | UnsetType = UNSET
    port: Port | None = None


class Bind(Section, frozen=True, kw_only=True):
    """An entry of a frontend's ``bind``: an address, or a table with ``address`` and what differs for it."""

    short_form: ClassVar[str] = "address"

    address: str
    maxconn: AtLeastOne | None = None
    backlog: AtLeastOne = 1024
    mode: FileMode | None = None
    user: str | None = None
    group: str | None = None
    accept_proxy: bool | AcceptProxy | UnsetType = UNSET
    transparent: bool = False
    original_dst: bool = False
    interface: InterfaceName | None = None
    namespace: NamespaceName | None = None
    tcp: ListenTcp | UnsetType = UNSET


class Route(Section, frozen=True, kw_only=True):
    """An entry of ``routes``: all that is given must hold; see ``routing.Rule``.

    ``backend``: where the request, or connection, goes then. ``refuse``: in its place, that it goes nowhere; a status
    is that of the answer.
    """

    backend: str | None = None
    refuse: bool | Annotated[int, Meta(ge=400, le=599)] = False
    host: Texts = []
    path: Texts = []
    path_prefix: Texts = []
    path_regex: str | None = None
    method: Texts = []
    headers: dict[FieldName, str] = {}
    facts: dict[str, str] = {}


class Frontend(Section, frozen=True, kw_only=True):
    """``[frontends.NAME]``: where clients come in."""

    bind: Annotated[list[Bind], Meta(min_length=1, extra={"single": True})]
    backend: str
    mode: Literal["tcp", "http"] = "tcp"
    routes: list[Route] = []
    maxconn: AtLeastOne | None = None
    timeouts: FrontendTimeouts = FrontendTimeouts()
    validators: list[Validator] = []
    inspect_expired: Literal["refuse", "pass"] = "refuse"
    policies: list[Policy] = []
    observers: list[Observer] = []
    access_log: AccessLog | UnsetType = UNSET
    accept_proxy: bool | AcceptProxy = False
    tcp: ListenTcp = ListenTcp()
    max_head: Annotated[Size, Meta(ge=1024, le=1048576)] = Size(16 * 1024)
    max_fields: Annotated[int, Meta(ge=1, le=10000)] = 100
    accept_invalid_http_request: bool = False
    accept_payload_with_any_method: bool = False
    restrict_header_names: Literal["preserve", "delete", "reject"] = "preserve"
    forwarded: bool | Forwarded = False
    via: Name | None = None
    request_headers: Fields = Fields()
    response_headers: Fields = Fields()
    error_files: dict[Status, FilePath] = {}
    json_errors: bool = False
    monitor_uri: Target | None = None
    reject_unknown_hosts: bool = False
    min_rate: MinRate | None = None
    buffer_request: bool | BufferRequest = False
    body_filters: list[BodyFilter] = []


class Server(Section, frozen=True, kw_only=True):
    """An entry of a backend's ``servers``: an address, or a table with ``address`` and what differs for it."""

    short_form: ClassVar[str] = "address"

    address: str
    weight: Weight = 1
    maxconn: ZeroOrMore = 0
    send_proxy: Literal[False] | SendProxy | UnsetType = UNSET
    check: bool | Check | UnsetType = UNSET
    check_send_proxy: bool | UnsetType = UNSET
    source: Literal[False] | Source | UnsetType = UNSET
    namespace: Literal[False] | NamespaceName | UnsetType = UNSET
    tcp: ConnectTcp | UnsetType = UNSET


class Backend(Section, frozen=True, kw_only=True):
    """``[backends.NAME]``: where connections go."""

    servers: Annotated[dict[Name, Server], Meta(min_length=1)]
    balance: Balancer | UnsetType = UNSET
    retries: ZeroOrMore | UnsetType = UNSET
    redispatch: Redispatch | UnsetType = UNSET
    timeouts: BackendTimeouts = BackendTimeouts()
    send_proxy: Literal[False] | SendProxy = False
    check: bool | Check = False
    check_send_proxy: bool = False
    source: Literal[False] | Source = False
    namespace: Literal[False] | NamespaceName = False
    tcp: ConnectTcp = ConnectTcp()
    http_reuse: Literal["never", "safe", "aggressive", "always"] = "safe"
    http_server_close: bool = False
    pool: Pool = Pool()
    accept_invalid_http_response: bool = False
    maxqueue: ZeroOrMore = 0
    request_headers: Fields = Fields()
    response_headers: Fields = Fields()


class Table(Section, frozen=True, kw_only=True):
    """``[tables.NAME]``: counters by key. ``key``: see ``tables.keys``; ``window``: that of its rates."""

    key: Annotated[str, Meta(min_length=1)]
    size: Annotated[int, Meta(ge=1, le=100_000_000)] = 100_000
    expire: Duration = Duration(1800)
    window: Duration = Duration(10)
    store: TableStore = TableStoreUse(use="memory")


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    frontends: Annotated[dict[Name, Frontend], Meta(min_length=1)]
    backends: Annotated[dict[Name, Backend], Meta(min_length=1)]
    process: Process = Process()
    defaults: Defaults = Defaults()
    lists: dict[ListName, ListFile] = {}
    tables: dict[TableName, Table] = {}
    plugins: list[str] = []
    disabled_plugins: list[str] = []
