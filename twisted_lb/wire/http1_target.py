"""What a request asks for, and of whom: the forms of a target, and what Host and Connection may say.

Source: RFC 9112, section 3.2; RFC 9110, sections 4.2, 7.2 and 7.6.1; RFC 3986, section 3.2.
"""

import re
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from socket import AF_INET6, inet_pton
from typing import NamedTuple, TypeVar

from twisted_lb.wire.http1_grammar import IS_TOKEN


class Form(IntEnum):
    """The four forms of a request target. Source: RFC 9112, section 3.2."""

    ORIGIN = 0
    ABSOLUTE = 1
    AUTHORITY = 2
    ASTERISK = 3


class Authority(NamedTuple):
    """A host and a port, as they were sent in ``text``.

    ``host``: in small letters, without a final dot, IPv6 in brackets. ``port``: 0 if none was named.
    """

    host: bytes
    port: int
    text: bytes


class Target(NamedTuple):
    """A request target. ``rule``: the one that it breaks, empty if none; ``userinfo``: it had some."""

    form: Form
    rule: str = ""
    scheme: bytes = b""
    authority: Authority | None = None
    origin: bytes = b""
    """What remains without scheme and authority: the form that servers expect."""
    userinfo: bool = False


Result = TypeVar("Result")
CACHED_BYTES = 64


def _remembered(read: Callable[[bytes], Result]) -> Callable[[bytes], Result]:
    """Remember the last results, but not of long values: what clients send must not fill the memory."""
    remembered = lru_cache(1024)(read)
    return lambda value: remembered(value) if len(value) <= CACHED_BYTES else read(value)


_AUTHORITY = re.compile(rb"([0-9A-Za-z\-._~!$&'()*+;=]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+")
"""RFC 3986's host without comma and percent: no name has either, and servers differ on what they mean."""
_ABSOLUTE = re.compile(rb"([A-Za-z][0-9A-Za-z+\-.]*+)://([^/?]*+)([^\r]*+)")


@_remembered
def read_authority(text: bytes) -> Authority | None:
    """Read ``host`` or ``host:port``; ``None`` if it is neither. A zone or a future version of IP is not."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host, port = match[1].lower(), int(match[2] or 0)
    if port > 65535 or (host[0] == 0x5B and not _is_ipv6(host[1:-1])):
        return None
    if host[-1] == 0x2E:
        host = host[:-1]
    return Authority(host, port, text) if host and host[-1] != 0x2E else None


def _is_ipv6(text: bytes) -> bool:
    try:
        inet_pton(AF_INET6, text.decode("ascii"))
    except OSError:
        return False
    return True


def read_target(method: bytes, target: bytes) -> Target:
    """Tell the form of a target; anything but origin-form is rare, so this need not be quick."""
    if method == b"CONNECT":
        authority = read_authority(target)
        rule = "" if authority is not None and authority.port else "http1-target-authority"
        return Target(Form.AUTHORITY, rule, authority=authority)
    if target.startswith(b"/"):
        return Target(Form.ORIGIN, origin=target)
    if target == b"*":
        return Target(Form.ASTERISK, "" if method == b"OPTIONS" else "http1-target-asterisk", origin=target)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return Target(Form.ABSOLUTE, "http1-target")
    return _read_absolute(method, match[1].lower(), match[2], match[3])


def _read_absolute(method: bytes, scheme: bytes, named: bytes, rest: bytes) -> Target:
    if scheme not in (b"http", b"https"):
        return Target(Form.ABSOLUTE, "http1-target-scheme")
    userinfo, at, text = named.rpartition(b"@")
    authority = read_authority(text)
    if authority is None or b"@" in userinfo:
        return Target(Form.ABSOLUTE, "http1-target-authority")
    if not rest.startswith(b"/"):
        rest = b"*" if method == b"OPTIONS" and not rest else b"/" + rest
    return Target(Form.ABSOLUTE, "", scheme, authority, rest, bool(at))


def agree(target: Target, host: Authority) -> bool:
    """Tell whether Host names what the target does; the scheme's own port may be named or not."""
    named = target.authority
    if named is None:
        return True
    if target.form is Form.AUTHORITY:
        return named.host == host.host and host.port in (0, named.port)
    default = 443 if target.scheme == b"https" else 80
    return named.host == host.host and (named.port or default) == (host.port or default)


@_remembered
def read_options(value: bytes) -> frozenset[bytes]:
    """Return the options of a Connection field in small letters; what is none counts as ``close``."""
    options = [option.strip(b" \t").lower() for option in value.split(b",")]
    return frozenset(option if IS_TOKEN.fullmatch(option) else b"close" for option in options if option)


@_remembered
def read_protocols(value: bytes) -> bytes:
    """Return which of the protocols of an Upgrade field may be passed on, as a list; HTTP/2 may not."""
    protocols = [protocol.strip(b" \t") for protocol in value.split(b",")]
    return b", ".join(protocol for protocol in protocols if _may_upgrade(protocol))


def _may_upgrade(protocol: bytes) -> bool:
    name, slash, version = protocol.partition(b"/")
    well_formed = IS_TOKEN.fullmatch(name) and (not slash or IS_TOKEN.fullmatch(version))
    return bool(well_formed) and name.lower() not in (b"h2", b"h2c")


def offers_websocket(protocols: bytes) -> bool:
    """Tell whether WebSocket is among the protocols."""
    return b"websocket" in protocols.lower().split(b", ")


IS_WEBSOCKET_KEY = re.compile(rb"[0-9A-Za-z+/]{21}[AQgw]==")
"""16 bytes in base64, whose last digit has but two bits. Source: RFC 6455, section 4.1."""
