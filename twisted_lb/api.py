"""The front desk: all that a plugin may import.

A plugin is a module (or any object) with functions marked ``@hookimpl``. Each hook supplies named ``Supply`` objects;
the configuration picks them by name. Everything here is stable within a major version.
"""
# ruff: noqa: N805 - a zope interface's methods have no ``self``: they are written as they are called

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Generic, Literal, TypeVar

import msgspec
import pluggy
from twisted.internet import interfaces
from zope.interface import Attribute, Interface, classImplements

from twisted_lb.config.model import FilePath
from twisted_lb.config.units import Duration, Size
from twisted_lb.declared import OWN_FACTS, Fact, FactType, value_of
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import ConfigError, PluginError, WireError
from twisted_lb.facts import Credentials, Facts, SocketAddress
from twisted_lb.greeted import GreetedValidator, GreetedWatch, facts_of_greeted
from twisted_lb.lookups import Lookups, SeldomWarning, UnansweredError
from twisted_lb.networks import Networks
from twisted_lb.patterns import StreamPattern
from twisted_lb.tables.keys import Key, parse_key
from twisted_lb.tables.sharing import Shared, TableBatch, TableEntry, TableReply
from twisted_lb.token_bucket import TokenBucket
from twisted_lb.turns import Turns
from twisted_lb.verdicts import (
    ALLOW,
    ALLOW_FINALLY,
    NEED_MORE,
    Allow,
    Answer,
    Decision,
    Deny,
    HttpVerdict,
    NeedMore,
    Redirect,
    Tarpit,
    Verdict,
)
from twisted_lb.web_service import WebAnswer, WebService
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.client_hello_fingerprints import ja3, ja4
from twisted_lb.wire.client_hello_names import (
    cipher_suite_names,
    group_names,
    signature_algorithm_names,
    version_names,
)
from twisted_lb.wire.crc32c import crc32c
from twisted_lb.wire.dns_messages import DnsMessages, read_dns_head
from twisted_lb.wire.dns_query import OPCODES as DNS_OPCODES
from twisted_lb.wire.dns_query import read_dns_query
from twisted_lb.wire.first_lines import LineProtocol
from twisted_lb.wire.host_name import is_host_name
from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_headers import Headers
from twisted_lb.wire.http1_path import path_readings
from twisted_lb.wire.http1_refused import RefusedMessage
from twisted_lb.wire.http1_request import RequestHead, parse_request
from twisted_lb.wire.http1_settings import Http1Settings
from twisted_lb.wire.http2_preface import http2_refusal, read_http2_preface
from twisted_lb.wire.lines import LineSplitter
from twisted_lb.wire.mqtt import Connect as MqttConnect
from twisted_lb.wire.mqtt import read_answer as read_mqtt_answer
from twisted_lb.wire.mqtt import read_connect as read_mqtt_connect
from twisted_lb.wire.mqtt import refusal as mqtt_refusal
from twisted_lb.wire.mqtt import version_of as mqtt_version
from twisted_lb.wire.mysql import ErrorPacket as MysqlError
from twisted_lb.wire.mysql import Greeting as MysqlGreeting
from twisted_lb.wire.mysql import error_packet as mysql_error
from twisted_lb.wire.mysql import read_greeting as read_mysql_greeting
from twisted_lb.wire.mysql import read_response as read_mysql_response
from twisted_lb.wire.pieces import Pieces
from twisted_lb.wire.postgresql import StartupPacket as PostgresqlPacket
from twisted_lb.wire.postgresql import error_response as postgresql_error
from twisted_lb.wire.postgresql import read_startup_packet as read_postgresql_startup
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType
from twisted_lb.wire.proxy_tlvs import check_tlv, join_tlvs, split_tlvs
from twisted_lb.wire.rdp import Request as RdpRequest
from twisted_lb.wire.rdp import read_confirmation as read_rdp_confirmation
from twisted_lb.wire.rdp import read_request as read_rdp_request
from twisted_lb.wire.rdp import refusal as rdp_refusal
from twisted_lb.wire.redis_commands import Command as RedisCommand
from twisted_lb.wire.redis_commands import CommandReader as RedisReader
from twisted_lb.wire.server_hello import TlsServerStart
from twisted_lb.wire.smtp_commands import SmtpDialogue
from twisted_lb.wire.ssh_identification import SshServerIdentification, read_ssh_client
from twisted_lb.wire.tls_rules import RULES as TLS_RULES
from twisted_lb.wire.tls_rules import tls_alert
from twisted_lb.wire.tls_start import TlsStart

__all__ = [
    "ALLOW",
    "ALLOW_FINALLY",
    "DNS_OPCODES",
    "NEED_MORE",
    "NORMAL",
    "OWN_FACTS",
    "TLS_RULES",
    "Allow",
    "Answer",
    "Cause",
    "ClientHello",
    "ConfigError",
    "Credentials",
    "DecideAnswer",
    "Decision",
    "Deny",
    "DnsMessages",
    "Duration",
    "Ending",
    "Fact",
    "FactType",
    "Facts",
    "FilePath",
    "GreetedValidator",
    "Headers",
    "Http1Error",
    "Http1Settings",
    "HttpRecord",
    "HttpVerdict",
    "IAccessLog",
    "IBalancer",
    "IBodyFilter",
    "IBodyStream",
    "IFactPolicy",
    "IObserver",
    "IPolicy",
    "IProxyCodec",
    "IServer",
    "IStreamValidator",
    "IStreamWatch",
    "ITableStore",
    "IValidator",
    "Key",
    "LineProtocol",
    "LineSplitter",
    "Lookups",
    "MqttConnect",
    "MysqlError",
    "MysqlGreeting",
    "NeedMore",
    "Networks",
    "Options",
    "Pieces",
    "PluginError",
    "PostgresqlPacket",
    "ProxyHeader",
    "RdpRequest",
    "Redirect",
    "RedisCommand",
    "RedisReader",
    "RefusedMessage",
    "RequestHead",
    "Runtime",
    "SeldomWarning",
    "SessionRecord",
    "Shared",
    "Size",
    "SmtpDialogue",
    "SocketAddress",
    "SshServerIdentification",
    "Stage",
    "StreamPattern",
    "Supply",
    "TableBatch",
    "TableEntry",
    "TableReply",
    "Tarpit",
    "TlsServerStart",
    "TlsStart",
    "Tlv",
    "TlvType",
    "TokenBucket",
    "Turns",
    "UnansweredError",
    "Verdict",
    "WebAnswer",
    "WebService",
    "WireError",
    "check_tlv",
    "cipher_suite_names",
    "crc32c",
    "facts_of_greeted",
    "group_names",
    "hookimpl",
    "http2_refusal",
    "is_host_name",
    "ja3",
    "ja4",
    "join_tlvs",
    "mqtt_refusal",
    "mqtt_version",
    "mysql_error",
    "parse_key",
    "parse_request",
    "path_readings",
    "postgresql_error",
    "rdp_refusal",
    "read_client_hello",
    "read_dns_head",
    "read_dns_query",
    "read_http2_preface",
    "read_mqtt_answer",
    "read_mqtt_connect",
    "read_mysql_greeting",
    "read_mysql_response",
    "read_postgresql_startup",
    "read_rdp_confirmation",
    "read_rdp_request",
    "read_ssh_client",
    "signature_algorithm_names",
    "split_tlvs",
    "tls_alert",
    "value_of",
    "version_names",
]

hookimpl = pluggy.HookimplMarker("twisted_lb")
"""Marks a function of a plugin as the implementation of the hook of that name."""

T = TypeVar("T")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a plugin's options: subclass it, one annotated field per option.

    The configuration is checked against it before the plugin sees it, and the JSON schema of the configuration
    contains it. What types cannot say belongs in ``build``, which raises ``ConfigError``.
    """


@dataclass(frozen=True, slots=True)
class Runtime:
    """The process that a supply is built for; ``twisted_lb.testing.make_runtime`` makes one for tests.

    ``reactor``: the one that runs, or will. ``clock``: for deadlines and ages; its seconds begin anywhere.
    ``wall_clock``: seconds since 1970, UTC, for dates and times of day.
    """

    reactor: Any
    clock: interfaces.IReactorTime
    wall_clock: Callable[[], float] = time


@dataclass(frozen=True, slots=True)
class Supply(Generic[T]):
    """What a hook supplies under one name.

    ``build(options)`` is called once per use in the configuration, at start-up and at reload, with an instance of
    ``options``; it returns the object that the proxy will call, or raises ``ConfigError``. ``mode``: that of the
    frontends that it is of use in, if there is one; in a frontend of the other mode it is an error at start.
    ``facts``: what it adds to ``facts.learnt``, by name; rules, routes and tables can use these and no others.
    ``runtime``: whether ``build(options, runtime)`` is to be called instead, with a ``Runtime``.
    """

    build: Callable[..., T]
    options: type[Options] = Options
    mode: Literal["tcp", "http"] | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    runtime: bool = False


class IServer(Interface):
    """A server as balancers and observers see it; they only read it."""

    name: str = Attribute("its name in the configuration")
    weight: int = Attribute("1..256; servers of weight 0 are never candidates")
    connections: int = Attribute("connections open or being opened to it now")
    maxconn: int = Attribute("most connections at once, 0 for no limit")
    failures: int = Attribute("attempts to connect to it that came to nothing, since it exists")


class IBalancer(Interface):
    """Chooses a server; one object per backend.

    An object whose attribute ``blind`` is true promises that ``choose`` does not look at ``facts``: in HTTP mode the
    request's need not be made up for it then.
    """

    def choose(candidates: Any, facts: Any) -> Any:
        """Return one member of ``candidates``: a non-empty sequence of ``IServer`` in the configuration's order,
        every one usable and below its ``maxconn``. ``facts``: the connection's ``Facts``.

        Raising, or returning anything else, ends that connection as ``Ending(INTERNAL, BALANCE)``.
        """


class IPolicy(Interface):
    """Decides whether a connection, in HTTP mode each request, may go on; one object per entry of a frontend's
    ``policies``.

    In HTTP mode ``facts.http`` is the ``RequestHead``; edits of its ``headers`` are what goes to the server. In both
    modes ``facts.backend`` may be set to the name of the backend to go to, and ``facts.priority``.

    Two more attributes are optional. ``only_refuses``, ``True``: it never allows finally, and changes nothing; then, if
    its stage is admission, it may be asked before entries that only refuse as well. ``label``: what the log calls it
    where it denies without a reason; else its name.
    """

    stage: Stage = Attribute(
        "Stage.ADMISSION if the source and the destination are all it needs, else Stage.POLICY. Entries are asked in "
        "the order in which the configuration lists them, as far as anybody could tell the difference."
    )

    def decide(facts: Any) -> Any:
        """Answer ``Allow``, ``Deny`` or ``Tarpit``, now or later: a verdict, or a ``Deferred`` or coroutine of one.
        About a request ``Answer`` and ``Redirect`` are possible too.

        Raising, answering anything else, naming a backend that does not exist, or taking longer than the frontend's
        ``timeouts.policy`` denies.
        """


class IFactPolicy(IPolicy):
    """A policy whose options name facts; it learns here which there are where its entry stands."""

    def use_facts(find: Any) -> None:
        """Called once, right after it was built; ``stage`` is read afterwards.

        ``find(name)``: returns the ``Fact`` of that name, and what gets its value out of a connection's ``Facts``,
            ``None`` where it has none; raises ConfigError that says what is wrong with the name.
        Raises: ConfigError, each problem of which begins with the option; that is an error at the start.
        """


class IValidator(Interface):
    """Looks at a connection's first bytes; one object per entry of a frontend's ``validators``."""

    def validate(data: bytes, facts: Any) -> Any:
        """Answer a ``Verdict`` about ``data``: all that has come so far, never empty.

        ``NeedMore(at_least)`` asks again when more has come; what is learnt goes into ``facts.learnt``. Must not keep
        state between calls: the object serves every connection of its frontend. Raising denies.
        """


class IStreamValidator(IValidator):
    """TCP mode: a validator that may stay on the connection behind its first bytes.

    A frontend none of whose validators is one pays nothing for it; nor does a connection that is not watched.
    """

    server_first: bool = Attribute(
        "whether in this protocol the server speaks first: then no byte of the client is waited for, and ``validate`` "
        "is asked only if some came."
    )

    def watch(facts: Any) -> Any:
        """Return an ``IStreamWatch`` for this connection, or ``None``; called once, when the server is connected."""


class IStreamWatch(Interface):
    """Looks at what passes on one connection, in both directions, from the first byte on; one object per connection.

    ``data``: bytes, never empty, each byte once and in its order, cut anywhere. Answers: ``Allow`` to let it pass and
    go on watching, ``Deny`` to end the connection before any of ``data`` passes, ``Allow(final=True)`` to let this and
    all that follows in this direction pass unseen. Raising, or answering anything else, denies.

    ``None`` in place of a method: nothing that is said in this direction matters.
    """

    def client_said(data: bytes) -> Any:
        """Judge what the client sent, first of all what ``validate`` has seen."""

    def server_said(data: bytes) -> Any:
        """Judge what the server sent."""


classImplements(GreetedValidator, IStreamValidator)
classImplements(GreetedWatch, IStreamWatch)


class IProxyCodec(Interface):
    """Reads and writes one version of the PROXY header; one object per use in the configuration. Keeps no state."""

    signature: bytes = Attribute("what every header of this version begins with, and nothing else does")
    max_length: int = Attribute("the most bytes that a header of this version can have; more are refused")

    def decode(data: bytes) -> Any:
        """Decode the header at the front of ``data``, all that has come so far.

        Returns: the ``ProxyHeader`` and how many bytes it used; the rest stays the caller's. ``NeedMore(at_least)``
            while it is incomplete; ``at_least`` never exceeds the header's length.
        Raises: WireError, at the first byte that is wrong; no other exception, whatever the bytes.
        """

    def encode(header: Any) -> Any:
        """Return a ``ProxyHeader`` as bytes; what this version has no room for, such as TLVs in v1, is left out.

        Raises: WireError if the header cannot be expressed at all.
        """


class IAccessLog(Interface):
    """Turns records into lines; one object per frontend that uses it."""

    def format(record: Any) -> Any:
        """Return the line for a ``SessionRecord`` as bytes, without the line end."""


class IObserver(Interface):
    """Is told of a connection's life, and of servers that go up and down; one object per entry of a frontend's
    ``observers``. Answers are ignored.
    """

    def session_opened(facts: Any) -> None:
        """A connection was accepted."""

    def session_routed(facts: Any, backend: str, server: Any) -> None:
        """The connection to ``server`` (an ``IServer``) of the backend of that name is open."""

    def session_closed(facts: Any, record: Any) -> None:
        """A connection ended; ``record`` is its ``SessionRecord``. Called exactly once per ``session_opened``."""

    def request_closed(facts: Any, record: Any) -> None:
        """HTTP mode: a request of the connection ended; ``record`` is its ``HttpRecord``. ``facts.http`` is its head,
        ``None`` if it could not be read. Called before ``session_closed``, any number of times.
        """

    def message_refused(facts: Any, message: Any) -> None:
        """HTTP mode: a request or a response broke a rule; ``message`` is a ``RefusedMessage``, with the bytes."""

    def server_state_changed(backend: str, server: Any, state: str, reason: str) -> None:
        """``server`` (an ``IServer``) of the frontend's backend, whose name is ``backend``, has gone ``"up"`` or
        ``"down"``; ``reason`` is for people. Called after the change; servers begin up.
        """


class IBodyFilter(Interface):
    """Looks at the messages of HTTP mode and may change their bodies; one object per entry of a frontend's
    ``body_filters``.

    ``facts.http`` is the request's head, ``response`` the response's: their ``headers`` may be edited here, and only
    here, for the heads are sent before the bodies. Length and framing are written anew; leave them alone.
    """

    def filter_request(facts: Any) -> Any:
        """Called once per request, also for one without a body, before a server is chosen.

        Returns: an ``IBodyStream`` for its body, ``None`` to let the body pass as it is, or ``Deny``.
        """

    def filter_response(facts: Any, response: Any) -> Any:
        """Called once per response that a server gives, but not for 1xx, and not when the protocol changes.

        Returns: as ``filter_request``. A response that has no body (to HEAD, 204, 304) loses its Content-Length if a
            stream is returned that does not keep the length.
        """


class IBodyStream(Interface):
    """One body on its way through a filter, without its framing, in pieces of any size.

    What each call returns is bytes, or a list or tuple of them, 1 MiB at most; or ``Deny``: the client gets that answer
    if it has no part of the response yet, and is cut off if it has. Raising, or returning anything else, ends this
    exchange likewise, with 500. Nothing is called after that.
    """

    keeps_length: bool = Attribute(
        "True promises as many bytes in all as came in, and never more than came so far: Content-Length then stays. "
        "Otherwise the body is sent in chunks, or until the connection closes to clients of HTTP/1.0."
    )

    def feed(data: bytes) -> Any:
        """Return what is to go on of ``data``, never empty, and of what came before."""

    def end() -> Any:
        """Return what is left; called once when the body has come whole, and not if it never does."""


class ITableStore(Interface):
    """Where machines that share a table tell each other what they have counted; one object per table with a ``store``.

    It connects by itself, and again when the connection is lost, with bounded pauses. It keeps nothing that was not
    answered: the proxy tells it again.
    """

    def open() -> None:
        """Begin to connect; called when the configuration is in force."""

    def close() -> None:
        """Close everything; called once, and nothing is after that."""

    def exchange(batch: Any) -> Any:
        """Add what a ``TableBatch`` tells, and answer what all machines together have then, with a ``Deferred`` or
        coroutine of a ``TableReply``. Its ``entries`` may be none, to ask whether anybody is there.

        Failing, and answering nothing in time, mean that the store is away; then it is cancelled. Without a connection
        it should fail at once.
        """


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the access log knows about one connection that ended.

    Times are milliseconds; -1 means that the connection never got there. Counts of connections include this one.
    Source of the fields: HAProxy configuration.txt, section 8.2.2 "TCP log format".
    """

    time: float
    """When it was accepted, in seconds since the epoch."""
    source: str
    source_port: int
    peer: str
    """Who connected to us: the source, or the proxy that sent the PROXY header which names the source."""
    peer_port: int
    destination: str
    destination_port: int
    frontend: str
    bind: str
    backend: str
    server: str
    """The server's name, ``<NOSRV>`` if none was ever chosen."""
    queue_ms: int
    connect_ms: int
    total_ms: int
    bytes_in: int
    """From the client."""
    bytes_out: int
    """To the client."""
    ending: str
    """The two-letter code of the ``Ending``."""
    stage: str
    """The stage in which it ended, in lower case."""
    reason: str
    plugin: str
    process_connections: int
    frontend_connections: int
    backend_connections: int
    server_connections: int
    retries: int
    redispatched: bool
    server_queue: int
    """Connections that were ahead in the server's queue."""
    backend_queue: int
    """Connections that were ahead in the backend's queue."""


class HttpRecord(SessionRecord, frozen=True, kw_only=True):
    """All that the access log knows about one request that ended, or a connection that brought none.

    ``time`` is when its first byte came, or the client connected if none did; ``bytes_in`` and ``bytes_out`` are what
    was read of the request and sent of the response, heads included.
    Source of the fields: HAProxy configuration.txt, section 8.2.3 "HTTP log format".
    """

    method: str
    """``<BADREQ>`` if the request could not be read."""
    target: str
    version: str
    host: str
    status: int
    """What the client was answered; 0 if it was not."""
    request_ms: int
    """Until the whole head was here."""
    response_ms: int
    """From when it was sent to the server until the head of the response was here."""
    requests: int
    """Which request of its connection this is, from 1; 0 if the connection brought none."""


DecideAnswer = Decision | Awaitable[Decision]
"""What ``IPolicy.decide`` may return; a ``Deferred`` is awaitable."""
