"""The front desk: all that a plugin may import.

A plugin is a module (or any object) with functions marked ``@hookimpl``. Each hook supplies named ``Supply`` objects;
the configuration picks them by name. Everything here is stable within a major version.

It only hands out: what an object must be able to do stands in ``contracts``, what a hook supplies in ``supply``, what
the log and observers are told in ``records``. We ourselves import those, and leave the front desk to guests.
"""

import pluggy

from twisted_lb.config.units import Duration, Size
from twisted_lb.config.values import FieldName, FieldValue, FilePath
from twisted_lb.contracts import (
    DecideAnswer,
    IAccessLog,
    IBalancer,
    IBodyFilter,
    IBodyStream,
    IFactPolicy,
    IObserver,
    IPolicy,
    IProxyCodec,
    IServer,
    IStreamValidator,
    IStreamWatch,
    ITableStore,
    IValidator,
)
from twisted_lb.declared import OWN_FACTS, Fact, FactType, protocol_fact, value_of
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import ConfigError, PluginError, WireError
from twisted_lb.facts import Credentials, Facts, SocketAddress
from twisted_lb.greeted import GreetedValidator, facts_of_greeted
from twisted_lb.lookups import Lookups, SeldomWarning, UnansweredError
from twisted_lb.networks import Networks
from twisted_lb.patterns import StreamPattern
from twisted_lb.records import HttpRecord, SessionRecord
from twisted_lb.supply import Options, Runtime, Supply
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
    protocol_names,
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
from twisted_lb.wire.http1_path import path_fault, path_readings
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
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType, shared_front
from twisted_lb.wire.proxy_tlvs import check_tlv, join_tlvs, split_tlvs
from twisted_lb.wire.rdp import Request as RdpRequest
from twisted_lb.wire.rdp import read_confirmation as read_rdp_confirmation
from twisted_lb.wire.rdp import read_request as read_rdp_request
from twisted_lb.wire.rdp import refusal as rdp_refusal
from twisted_lb.wire.redis_commands import Command as RedisCommand
from twisted_lb.wire.redis_commands import CommandReader as RedisReader
from twisted_lb.wire.second_hello import TlsSecondHello
from twisted_lb.wire.server_hello import TlsServerStart, is_known_answer
from twisted_lb.wire.smtp_commands import SmtpDialogue
from twisted_lb.wire.ssh_identification import SshServerIdentification, read_ssh_client
from twisted_lb.wire.tls_rules import RULES as TLS_RULES
from twisted_lb.wire.tls_rules import Alert, tls_alert
from twisted_lb.wire.tls_start import TlsStart

__all__ = [
    "ALLOW",
    "ALLOW_FINALLY",
    "DNS_OPCODES",
    "NEED_MORE",
    "NORMAL",
    "OWN_FACTS",
    "TLS_RULES",
    "Alert",
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
    "FieldName",
    "FieldValue",
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
    "TlsSecondHello",
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
    "is_known_answer",
    "ja3",
    "ja4",
    "join_tlvs",
    "mqtt_refusal",
    "mqtt_version",
    "mysql_error",
    "parse_key",
    "parse_request",
    "path_fault",
    "path_readings",
    "postgresql_error",
    "protocol_fact",
    "protocol_names",
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
    "shared_front",
    "signature_algorithm_names",
    "split_tlvs",
    "tls_alert",
    "value_of",
    "version_names",
]

hookimpl = pluggy.HookimplMarker("twisted_lb")
"""Marks a function of a plugin as the implementation of the hook of that name."""
