"""A connection that is described, not there: what the command line says, made into facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted_lb.config.addresses import IpAddress, parse_bind
from twisted_lb.config.hints import nearest
from twisted_lb.config.model import Frontend
from twisted_lb.declared import OWN_FACTS, Fact, FactType
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1_headers import field_line
from twisted_lb.wire.http1_request import RequestHead, parse_request
from twisted_lb.wire.http1_settings import Http1Settings

SOURCE_PORT = 50000
"""The client's port if none is said."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is said of the connection. ``data``: its first bytes, ``None`` if nothing is said of them, empty for one
    who says nothing.

    ``learnt``: values of facts as texts, by name; a comma stands between several of a list.
    """

    source: str
    destination: str | None = None
    data: bytes | None = None
    method: str = "GET"
    host: str = "localhost"
    path: str = "/"
    headers: Sequence[tuple[str, str]] = ()
    learnt: Mapping[str, str] = field(default_factory=dict)


def facts_of(case: Case, name: str, settings: Frontend) -> Facts:
    """Return what is known of the connection when it is accepted. Raises: ConfigError."""
    bind = settings.bind[0]
    destination = _default_destination(bind.address)
    if case.destination is not None:
        destination = read_address(case.destination, destination.port)
    return Facts(read_address(case.source, SOURCE_PORT), destination, name, bind.address, bind.namespace)


def _default_destination(address: str) -> SocketAddress:
    try:
        parsed = parse_bind(address)
    except ConfigError:
        return SocketAddress("127.0.0.1")
    if isinstance(parsed, IpAddress):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parsed.host, parsed.host)
        return SocketAddress(host if Networks.number(host) is not None else "127.0.0.1", parsed.low)
    return SocketAddress(address if address.startswith("unix:") else "127.0.0.1")


def read_address(text: str, port: int) -> SocketAddress:
    """Read ``HOST``, ``HOST:PORT``, ``[V6]:PORT``, ``V6`` or ``unix:``. Raises: ConfigError."""
    if text == "unix" or text.startswith("unix:"):
        return SocketAddress(text if ":" in text else "unix:")
    host, said = text, ""
    if text.startswith("["):
        host, _, said = text[1:].partition("]")
        said = said.removeprefix(":")
    elif text.count(":") == 1:
        host, _, said = text.partition(":")
    if Networks.number(host) is None:
        raise ConfigError(f'"{text}" is neither an address, such as 192.0.2.1, nor one with a port')
    if said and not (said.isdecimal() and int(said) <= 65535):
        raise ConfigError(f'"{said}" in "{text}" is no port')
    return SocketAddress(host, int(said) if said else port)


def can_be_said(name: str) -> bool:
    """Whether a fact is one that ``read_facts`` may set: the addresses are said otherwise."""
    return name not in OWN_FACTS or name.startswith("unix.")


def read_facts(texts: Mapping[str, str], known: Mapping[str, Fact]) -> dict[str, Any]:
    """Read values of facts that are learnt. Raises: ConfigError for unknown ones, and for values of another type."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in texts.items():
        fact = known.get(name)
        if fact is None:
            near = nearest(name, known)
            hint = f'; did you mean "{near}"?' if near else ""
            problems.append(f'nobody in this frontend learns a fact "{name}"{hint}')
            continue
        try:
            values[name] = _value(fact.type, text)
        except ValueError:
            problems.append(f"{name} is {fact.type.value}, and not {text}")
    if problems:
        raise ConfigError(*problems)
    return values


def _value(kind: FactType, text: str) -> Any:
    match kind:
        case FactType.INTEGER:
            return int(text)
        case FactType.BOOLEAN:
            return {"true": True, "false": False}[text] if text in ("true", "false") else int("")
        case FactType.STRINGS:
            return tuple(one.strip() for one in text.split(","))
    return text


def request_of(case: Case, parsing: Http1Settings) -> RequestHead:
    """Return the head of the request: that at the front of ``data``, or the one that is described.

    Raises: ConfigError if it is not whole, or cannot be described so; WireError if it breaks a rule.
    """
    data = case.data if case.data is not None else _described(case)
    head = parse_request(data, 0, parsing)
    if isinstance(head, NeedMore):
        raise ConfigError(f"the {len(data)} bytes are no whole head of a request: the empty line is missing")
    return head


def _described(case: Case) -> bytes:
    lines = [f"{case.method} {case.path} HTTP/1.1".encode()]
    fields = [("Host", case.host), *case.headers]
    try:
        return b"\r\n".join(lines) + b"\r\n" + b"".join(field_line(n.encode(), v.encode()) for n, v in fields) + b"\r\n"
    except ValueError as error:
        raise ConfigError(str(error)) from None
