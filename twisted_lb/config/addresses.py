"""The grammar of addresses: text to frozen values. No DNS and no sockets; see ``resolve`` for host names.

``HOST:PORT``, ``*:PORT``, ``[V6]:PORT``, ``HOST:LOW-HIGH``, ``HOST:+N``, ``HOST:-N``, ``HOST``, ``unix:/PATH``,
``unix:@NAME``, ``fd:N``, or the description of any other Twisted endpoint. Our own forms win over Twisted's.
A server may be ``*``, ``*:PORT``, ``*:+N``, ``*:-N``: what the client wanted to reach.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from twisted_lb.config.prefixes import client_prefixes, server_prefixes
from twisted_lb.errors import ConfigError

ANY_IPV4 = "0.0.0.0"

MAX_UNIX_BYTES = 107
"""sun_path holds 108 bytes with the NUL that ends a path or begins an abstract name."""


@dataclass(frozen=True, slots=True)
class IpAddress:
    """Where to listen: one port, or an inclusive range.

    ``host``: an IPv4 address, an IPv6 address without brackets, or a host name; ``*`` is stored as ``0.0.0.0``.
    ``low``, ``high``: equal for a single port; 0 lets the kernel choose one.
    """

    host: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class IpServer:
    """Where to connect.

    ``host``: as in ``IpAddress``. ``port``: fixed, or ``None`` for the port that the client connected to plus
    ``offset``, which may be negative; the sum is the session's to check.
    """

    host: str
    port: int | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ClientDestination:
    """Connect to where the client wanted to go. ``port``, ``offset``: as in ``IpServer``."""

    port: int | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ClientSource:
    """Connections come from the client's own address; ``port``: and from its port."""

    port: bool


@dataclass(frozen=True, slots=True)
class HeaderSource:
    """Connections come from the address in the request's fields of this name; HTTP mode only."""

    name: str


@dataclass(frozen=True, slots=True)
class FixedSource:
    """Connections come from this address.

    ``host``: an IPv4 address, an IPv6 address without brackets, or empty for the kernel's choice. ``low``, ``high``: an
    inclusive range of ports, equal for one port; 0 for the kernel's choice.
    """

    host: str
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix socket in the file system; ``path`` is absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class UnixAbstract:
    """A Unix socket in Linux's abstract namespace, at its exact length.

    ``name``: without the NUL byte that the kernel's address begins with.
    """

    name: str


@dataclass(frozen=True, slots=True)
class InheritedFd:
    """A listening socket that this process was started with."""

    fd: int


@dataclass(frozen=True, slots=True)
class EndpointDescription:
    """Any other Twisted endpoint, for ``serverFromString`` or ``clientFromString``."""

    text: str


BindAddress: TypeAlias = IpAddress | UnixPath | UnixAbstract | InheritedFd | EndpointDescription
ServerAddress: TypeAlias = IpServer | ClientDestination | UnixPath | UnixAbstract | EndpointDescription


def parse_bind(text: str) -> BindAddress:
    """Parse an address to listen on.

    Raises: ConfigError with one problem that quotes the text, whatever the text is.
    """
    if text.startswith("unix:"):
        return _unix(text)
    if text.startswith("fd:"):
        if not re.fullmatch(r"[0-9]{1,9}", text[3:]):
            raise ConfigError(f'"{text}": an inherited socket is written as "fd:N", such as "fd:3"')
        return InheritedFd(int(text[3:]))
    if _could_be_endpoint(text) and text.partition(":")[0] in server_prefixes():
        return EndpointDescription(text)
    host, port = _split(text)
    if not port:
        raise ConfigError(f'"{text}" has no port: write {_suggest_bind(host)}')
    if host == "":
        raise ConfigError(f'"{text}" has no host: write "*{text}" for every IPv4 address')
    return IpAddress(ANY_IPV4 if host == "*" else _host(host, text), *_port_range(port, text))


def parse_server(text: str) -> ServerAddress:
    """Parse an address to connect to.

    Raises: ConfigError with one problem that quotes the text, whatever the text is.
    """
    if text.startswith("unix:"):
        return _unix(text)
    if text.startswith("fd:"):
        raise ConfigError(f'"{text}": only a bind can use an inherited socket')
    if _could_be_endpoint(text) and text.partition(":")[0].lower() in client_prefixes():
        return EndpointDescription(text)
    host, port = _split(text)
    if host == "*":
        return ClientDestination(*_server_port(port, text))
    if host == "" or (port is None and re.fullmatch(r"[0-9]+", host)):
        raise ConfigError(f'"{text}" has no host: write "HOST:{host or port or "PORT"}"')
    return IpServer(_host(host, text), *_server_port(port, text))


def parse_source(text: str) -> ClientSource | HeaderSource | FixedSource:
    """Parse the address that connections to a server come from.

    ``client``, ``client_ip``, ``header:NAME``, ``IP``, ``IP:PORT``, ``IP:LOW-HIGH``, with ``[V6]`` for IPv6;
    ``*:LOW-HIGH`` and ``*:PORT`` leave the address to the kernel.
    Raises: ConfigError with one problem that quotes the text, whatever the text is.
    """
    if text in ("client", "client_ip"):
        return ClientSource(text == "client")
    if text in ("clientip", "client-ip"):
        raise ConfigError(f'"{text}": write "client_ip"')
    if text.startswith("header:"):
        return _header_source(text)
    if match := re.match(r"hdr_ip\(([^,)]*)", text):
        raise ConfigError(f'"{text}": write "header:{match[1]}", of which the last address counts')
    host, port = _split(text)
    if host == "*":
        if port is None:
            raise ConfigError(f'"{text}" leaves all to the kernel: leave source out, or write a port')
        return FixedSource("", *_source_ports(port, text))
    if not re.fullmatch(r"[0-9.]+|\[.*\]", host):
        what = f'"{text}": a source is "client", "client_ip", "header:NAME" or an IP address, without or with ports'
        raise ConfigError(f'{what}; an interface is written {{ interface = "NAME" }}')
    return FixedSource(_host(host, text), *((0, 0) if port is None else _source_ports(port, text)))


def _header_source(text: str) -> HeaderSource:
    name = text.removeprefix("header:")
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
        raise ConfigError(f'"{text}": write "header:NAME", such as "header:X-Forwarded-For"')
    if name.lower() == "forwarded":
        raise ConfigError(f'"{text}": {name} holds no plain addresses; "header:X-Forwarded-For" can be read')
    return HeaderSource(name)


def _source_ports(port: str, text: str) -> tuple[int, int]:
    if port == "":
        raise ConfigError(f'"{text}" has no port behind its ":"; to let the kernel choose leave the ":" out')
    if port[0] in "+-":
        raise ConfigError(f'"{text}": only a server can be at an offset from the client\'s port')
    low, high = _port_range(port, text)
    if not low:
        raise ConfigError(f'"{text}": to let the kernel choose the port leave it out')
    return low, high


def _could_be_endpoint(text: str) -> bool:
    """Whether its first word can name a type of endpoint at all; to look those up reads files."""
    return re.match(r"[A-Za-z][A-Za-z0-9_-]*:", text) is not None


def _unix(text: str) -> UnixPath | UnixAbstract | EndpointDescription:
    rest = text.removeprefix("unix:")
    if rest.startswith(("address=", "path=")):
        return EndpointDescription(text)
    if "\0" in rest:
        raise ConfigError(f'"{text!r}": a Unix socket\'s name cannot hold a NUL byte')
    if rest.startswith("@"):
        _check_length(text, rest[1:])
        return UnixAbstract(rest[1:])
    if not rest.startswith("/"):
        raise ConfigError(
            f'"{text}": a Unix socket is written as "unix:/PATH" with an absolute path, or as "unix:@NAME"'
        )
    # Twisted's own "unix:/PATH:mode=660" would else make a file of that whole name.
    if option := re.search(r":([A-Za-z]+)=", rest):
        raise ConfigError(f'"{text}": "{option[1]}" does not belong in the address; write a table with "address"')
    _check_length(text, rest)
    return UnixPath(rest)


def _check_length(text: str, name: str) -> None:
    length = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= length <= MAX_UNIX_BYTES:
        raise ConfigError(f'"{text}": the name is {length} bytes long; 1 to {MAX_UNIX_BYTES} are possible')


def _split(text: str) -> tuple[str, str | None]:
    """Part host and port; the port is ``None`` if there is no colon for it."""
    if text.startswith("["):
        match = re.fullmatch(r"\[([^\[\]]*)\](?::([^:]*))?", text)
        if match is None:
            raise ConfigError(f'"{text}" is not an address: IPv6 is written as "[ADDRESS]:PORT"')
        return f"[{match[1]}]", match[2]
    if text.count(":") > 1:
        word = text.partition(":")[0]
        if _could_be_endpoint(text):
            raise ConfigError(f'"{text}" has too many ":", and no Twisted endpoint called "{word}" is installed')
        raise ConfigError(f'"{text}" has too many ":": IPv6 is written as "[ADDRESS]:PORT"')
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _host(host: str, text: str) -> str:
    """Check a host and bring addresses into their one canonical spelling."""
    try:
        if host.startswith("["):
            return str(IPv6Address(host[1:-1]))
        if re.fullmatch(r"[0-9.]+", host):
            return str(IPv4Address(host))
    except ValueError as error:
        raise ConfigError(f'"{text}" is not an address: {error}') from None
    label = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    if len(host) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*\.?", host):
        raise ConfigError(f'"{text}": "{host}" is neither an address nor a host name')
    return host


def _port_range(port: str, text: str) -> tuple[int, int]:
    """The first and the last port of a bind."""
    if port[0] in "+-":
        raise ConfigError(f'"{text}": only a server can be at an offset from the client\'s port')
    low_text, dash, high_text = port.partition("-")
    low = _port(low_text, text)
    high = _port(high_text, text) if dash else low
    if dash and low == 0:
        raise ConfigError(f'"{text}": a range of ports starts at 1 or above')
    if low > high:
        raise ConfigError(f'"{text}": the range\'s first port is above its last: write "{high}-{low}"')
    return low, high


def _server_port(port: str | None, text: str) -> tuple[int | None, int]:
    """A server's port and offset."""
    if port is None:
        return None, 0
    if port == "":
        raise ConfigError(f'"{text}" has no port behind its ":"; for the client\'s port leave the ":" out')
    if port[0] in "+-":
        offset = _port(port[1:], text)
        return None, -offset if port[0] == "-" else offset
    if "-" in port:
        raise ConfigError(f'"{text}": a server has one port; for a range that follows the client\'s write "HOST:+N"')
    number = _port(port, text)
    if number == 0:
        raise ConfigError(f'"{text}": a server cannot be on port 0')
    return number, 0


def _port(digits: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", digits) or int(digits) > 65535:
        raise ConfigError(f'"{text}": "{digits}" is not a port; a port is a number from 0 to 65535')
    return int(digits)


def _suggest_bind(host: str) -> str:
    return f'"*:{host}"' if re.fullmatch(r"[0-9]+", host) else f'"{host or "HOST"}:PORT"'
