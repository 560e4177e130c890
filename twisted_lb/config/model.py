"""The configuration as frozen structs; their shape is the file's shape.

Every field is documented for operators in ``docs/reference/configuration.md``; a test compares the two. What a single
value must be stands in its annotation, where ``convert`` and ``schema`` read it; what spans several is in ``checks``.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from twisted_lb.config.units import Duration, Size

# "(?![\s\S])" is the end of the text; "$" would let Python, but not JSON schema, accept a line end behind it.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._:-]+(?![\s\S])",
        extra={"expected": "a name made of letters, digits and . _ : -"},
    ),
]
"""The name of a frontend, backend or server; it stands in logs, so it holds no blanks and no slashes."""

FilePath = Annotated[str, Meta(min_length=1, extra={"file": True})]
"""A file's path; a relative one starts from the folder of the configuration file."""

FileMode = Annotated[
    str,
    Meta(
        pattern=r"^0?[0-7]{3}(?![\s\S])",
        extra={"expected": 'an octal file mode as a string, such as "660"'},
    ),
]

AtLeastOne = Annotated[int, Meta(ge=1, le=2147483647)]
ZeroOrMore = Annotated[int, Meta(ge=0, le=2147483647)]
SocketBuffer = Annotated[Size, Meta(ge=1, le=2147483647)]
# From the longest block of addresses of a v2 header, two Unix paths, to the longest header that v2 can express.
HeaderSize = Annotated[Size, Meta(ge=16 + 216, le=16 + 65535)]
Weight = Annotated[int, Meta(ge=0, le=256)]
NamespaceName = Annotated[str, Meta(min_length=1, extra={"expected": "the name or the path of a network namespace"})]
"""``NAME`` stands for ``/run/netns/NAME``; what begins with a slash is a path."""
InterfaceName = Annotated[
    str,
    Meta(pattern=r"^[^\s/]{1,15}(?![\s\S])", extra={"expected": "an interface's name, 15 bytes at most"}),
]
Redispatch = Annotated[int, Meta(ge=-1, le=2147483647)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the file: immutable, and strict about its keys."""

    short_form: ClassVar[str] = ""
    """The field that a bare string stands for where the file may have a string in place of this table."""


class Use(Section, frozen=True, kw_only=True):
    """A plugin's supply picked by name: ``"name"``, or a table with ``use`` and the supply's options beside it.

    ``options``: as the file has them, unchecked; the plugin host converts them into what the supply asks for.
    ``where``: the file and the dotted key of this entry, for messages about it. ``folder``: where relative paths of
    files among the options start; "" leaves them alone.
    """

    short_form: ClassVar[str] = "use"

    use: str
    options: dict[str, Any] = {}
    where: str = ""
    folder: str = ""


class AccessLogUse(Use, frozen=True, kw_only=True):
    """As ``Use``, with ``path``: the file that the lines go to, standard output when ``None``.

    The name ``none`` is reserved: no access log.
    """

    path: FilePath | None = None


class AnyOf(Section, frozen=True, kw_only=True):
    """An entry of ``validators`` that is several, of which the first that does not deny decides."""

    told_by: ClassVar[tuple[str, ...]] = ("any_of",)

    any_of: Annotated[list[Annotated[Use, Meta(extra={"supplies": "validators"})]], Meta(min_length=1)]


ListName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]+(?![\s\S])",
        extra={"expected": "the name of a list, made of letters, digits and _ -"},
    ),
]
Expression = Annotated[
    str, Meta(min_length=1, extra={"expected": 'an expression as a string, such as "source in @bad"'})
]
"""What ``rules.expression`` reads; what it says can only be judged when the frontend's plugins are known."""


class TableStoreUse(Use, frozen=True, kw_only=True):
    """As ``Use``, with when and how long a table's store is asked; see ``counting.exchange``.

    The name ``memory`` is reserved: the table is this process's alone. ``when_away``: what holds while the store does
    not answer. ``lease``: after what time without a word the connections of a machine no longer count.
    """

    mode: Literal["refresh", "each"] = "refresh"
    refresh: Annotated[Duration, Meta(ge=0.01)] = Duration(0.5)
    timeout: Duration = Duration(1)
    when_away: Literal["local", "refuse"] = "local"
    lease: Duration = Duration(10)


Balancer = Annotated[Use, Meta(extra={"supplies": "balancers"})]
Validator = Annotated[Use | AnyOf, Meta(extra={"supplies": "validators"})]
Observer = Annotated[Use, Meta(extra={"supplies": "observers"})]
BodyFilter = Annotated[Use, Meta(extra={"supplies": "body_filters"})]
TableStore = Annotated[TableStoreUse, Meta(extra={"supplies": "table_stores"})]
AccessLog = Annotated[AccessLogUse, Meta(extra={"supplies": "access_logs"})]


Status = Annotated[
    str, Meta(pattern=r"^[45][0-9][0-9](?![\s\S])", extra={"expected": 'a status from "400" to "599" as a string'})
]
Target = Annotated[
    str,
    Meta(pattern=r"^/[\x21-\x7e]*(?![\s\S])", extra={"expected": 'a path that begins with a slash, such as "/health"'}),
]
FieldName = Annotated[
    str,
    Meta(
        pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?![\s\S])",
        extra={"expected": "the name of an HTTP field, such as X-Real-IP"},
    ),
]
FieldValue = Annotated[
    str,
    Meta(
        pattern=r"^[\t\x20-\x7e\x80-\U0010ffff]*(?![\s\S])",
        extra={"expected": "the value of an HTTP field, without control characters"},
    ),
]


Texts = Annotated[list[str], Meta(extra={"single": True})]

RULE_ACTIONS = ("allow", "deny", "reject", "drop", "tarpit", "redirect", "answer", "limit", "track", "count")
"""The keys by which an entry of ``policies`` is a rule; each entry has exactly one."""


class Rule(Section, frozen=True, kw_only=True):
    """An entry of ``policies`` that is a rule: one of ``RULE_ACTIONS`` with an expression, and what belongs to it.

    ``status``, ``headers``, ``location``, ``body``, ``content_type``: of the answer in HTTP mode; unset: the action's
    own. ``action``: what happens to who is beyond a ``limit``. ``track``, ``count``, ``table``: tables, or a counter of
    one, by name; ``if_``: in place of the expression that these, and ``limit``, are none of.
    """

    told_by: ClassVar[tuple[str, ...]] = RULE_ACTIONS

    allow: Expression | None = None
    deny: Expression | None = None
    reject: Expression | None = None
    drop: Expression | None = None
    tarpit: Expression | None = None
    redirect: Expression | None = None
    answer: Expression | None = None
    limit: Expression | None = None
    track: str | None = None
    count: str | None = None
    if_: Expression | None = msgspec.field(name="if", default=None)
    table: str | None = None
    action: Literal["deny", "reject", "drop", "tarpit", "redirect", "answer"] | None = None
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    headers: dict[FieldName, FieldValue] = {}
    location: FieldValue | None = None
    body: str | None = None
    content_type: FieldValue | None = None

    @property
    def actions(self) -> list[str]:
        """The keys of ``RULE_ACTIONS`` that are given."""
        return [key for key in RULE_ACTIONS if getattr(self, key) is not None]


Policy = Annotated[Use | Rule, Meta(extra={"supplies": "policies"})]


class ListFile(Section, frozen=True, kw_only=True):
    """An entry of ``lists``: a file with one entry a line; a path, or a table with ``file``."""

    short_form: ClassVar[str] = "file"

    file: FilePath


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


class Keepalive(Section, frozen=True, kw_only=True):
    """``keepalive``: when the kernel asks a silent peer whether it is still there; unset: as the kernel is set.

    Source: tcp(7), ``TCP_KEEPIDLE``, ``TCP_KEEPINTVL``, ``TCP_KEEPCNT``.
    """

    idle: Duration | UnsetType = UNSET
    interval: Duration | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=127)] | UnsetType = UNSET


class Tcp(Section, frozen=True, kw_only=True):
    """``tcp``: options of sockets, on either side. Unset: inherited key by key, in the end as the kernel is set.

    ``nodelay``: on unless it is set. ``max_segment``: bytes; negative: so many less than the path has room for.
    ``mark``, ``tos``, ``priority``: as ``SO_MARK``, ``IP_TOS`` (``IPV6_TCLASS``) and ``SO_PRIORITY`` take them.
    ``fin_wait``: how long a closed connection may wait for the other side's FIN. ``md5_key``: the secret of RFC 2385.
    Source: tcp(7), socket(7), ip(7).
    """

    nodelay: bool | UnsetType = UNSET
    quickack: bool | UnsetType = UNSET
    keepalive: bool | Keepalive | UnsetType = UNSET
    user_timeout: Duration | UnsetType = UNSET
    congestion: Annotated[str, Meta(min_length=1, max_length=15)] | UnsetType = UNSET
    max_segment: Annotated[int, Meta(ge=-32767, le=32767)] | UnsetType = UNSET
    receive_buffer: SocketBuffer | UnsetType = UNSET
    send_buffer: SocketBuffer | UnsetType = UNSET
    notsent_lowat: SocketBuffer | UnsetType = UNSET
    window_clamp: SocketBuffer | UnsetType = UNSET
    mark: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | UnsetType = UNSET
    tos: Annotated[int, Meta(ge=0, le=255)] | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=15)] | UnsetType = UNSET
    fin_wait: Duration | UnsetType = UNSET
    reset_on_close: bool | UnsetType = UNSET
    md5_key: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET
    multipath: bool | UnsetType = UNSET
    busy_poll: Duration | UnsetType = UNSET


class ListenTcp(Tcp, frozen=True, kw_only=True):
    """``tcp`` of a frontend or a bind: of its listening sockets, and of the connections that they accept.

    ``defer_accept``: how long the kernel waits for the client's first bytes before it hands the connection over.
    ``fast_open``: the length of the queue of connections whose SYN carried data; ``true``: the backlog's.
    """

    defer_accept: Duration | UnsetType = UNSET
    fast_open: bool | Annotated[int, Meta(ge=1, le=65535)] | UnsetType = UNSET
    save_syn: bool | UnsetType = UNSET
    reuse_port: bool | UnsetType = UNSET


class ConnectTcp(Tcp, frozen=True, kw_only=True):
    """``tcp`` of a backend or a server: of the connections to it.

    ``fast_open``: what there is to say at once goes with the SYN.
    """

    fast_open: bool | UnsetType = UNSET


class Source(Section, frozen=True, kw_only=True):
    """``source``: the address that servers see connections come from; an address, or a table with ``address``.

    ``address``: see ``parse_source``; ``None`` for the kernel's choice. ``transparent``: it need not be one of ours.
    """

    short_form: ClassVar[str] = "address"

    address: str | None = None
    transparent: bool = False
    interface: InterfaceName | None = None


class AcceptProxy(Section, frozen=True, kw_only=True):
    """``accept_proxy``: which PROXY headers clients must send, and who must.

    ``versions``: names of the codecs that plugins supply. ``from_``: the networks whose clients must send a header, as
    ``Networks.parse`` takes them; empty: every client must. ``others``: as the file has it, see ``direct``.
    ``namespaces``: the network namespaces that a header may choose.
    """

    versions: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["v1", "v2"])
    from_: Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="from", default_factory=list)
    others: Literal["reject", "direct"] | None = None
    timeout: Duration = Duration(3)
    max_header: HeaderSize = Size(4096)
    namespaces: list[NamespaceName] = []

    @property
    def direct(self) -> bool:
        """Whether clients outside ``from_`` are served, without a look for a header, rather than refused."""
        return self.others == "direct"


class SendProxy(Section, frozen=True, kw_only=True):
    """``send_proxy``: the PROXY header that servers get; the name of a codec, or a table with ``version``.

    ``tlvs``: see ``proxy.own_tlvs``. ``forward_tlvs``: see ``proxy.forwarded_types``. ``proxy_v2_options``: what
    HAProxy's options of these names send.
    """

    short_form: ClassVar[str] = "version"

    version: str
    tlvs: dict[str, str | bool] = {}
    forward_tlvs: list[str] = []
    proxy_v2_options: list[
        Literal["ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key", "authority", "crc32c", "unique-id"]
    ] = []


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


class Fields(Section, frozen=True, kw_only=True):
    """``request_headers`` and ``response_headers``: fields that are removed first, then set, then added."""

    remove: list[FieldName] = []
    set: dict[FieldName, FieldValue] = {}
    add: dict[FieldName, FieldValue] = {}


Speaks = Literal["pass", "remove", "set", "append"]


class Forwarded(Section, frozen=True, kw_only=True):
    """``forwarded``: the fields in which servers are told who the client is; see ``wire.http1_forward.Speak``.

    ``except_``: proxies whose word counts, as ``Networks.parse`` takes them: what they say is passed on as it is.
    """

    x_forwarded_for: Speaks = "append"
    x_forwarded_proto: Speaks = "set"
    x_forwarded_host: Speaks = "set"
    x_forwarded_port: Speaks = "set"
    rfc7239: Speaks = "remove"
    except_: Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="except", default_factory=list)


class MinRate(Section, frozen=True, kw_only=True):
    """``min_rate``: how slowly a client may send a body: ``rate`` bytes per second, on average, ``after`` a while."""

    rate: Annotated[Size, Meta(ge=1, le=2147483647)]
    after: Duration = Duration(5)


class BufferRequest(Section, frozen=True, kw_only=True):
    """``buffer_request``: no server is chosen before the body is here. Beyond ``memory`` it goes to a temporary file.

    ``max``: longer bodies are refused with 413; no more memory than that is used either.
    """

    memory: Size = Size(16 * 1024)
    max: Size = Size(1024 * 1024)


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


class Pool(Section, frozen=True, kw_only=True):
    """``pool``: connections to each server that wait for their next request; HAProxy's ``pool-max-conn``."""

    max: ZeroOrMore = 100
    idle_timeout: Duration | None = Duration(5)


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


TableName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?![\s\S])",
        extra={"expected": "the name of a table, made of letters, digits and _"},
    ),
]


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
