"""The TLVs of a PROXY header as ``send_proxy`` spells them: their names, and what goes into them.

Source: HAProxy proxy-protocol.txt, section 2.2; configuration.txt, "proxy-v2-options".
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from twisted_lb.config.convert import join
from twisted_lb.config.hints import unknown_name
from twisted_lb.config.proxy_header import SendProxy
from twisted_lb.config.templates import Template, parse_template
from twisted_lb.errors import ConfigError
from twisted_lb.wire.proxy_header import TlvType


class Computed(Enum):
    """A value that the proxy works out itself; the words are those of the file."""

    SNI = "sni"
    """The name that the client asked for: the learnt ``tls.sni``, else that of a received AUTHORITY."""
    UUID = "uuid"
    """A new one for each connection."""
    CHECKSUM = "crc32c"
    """Over the whole header."""


TlvValue: TypeAlias = Template | Computed

OWN: Mapping[str, TlvType] = {
    "alpn": TlvType.ALPN,
    "authority": TlvType.AUTHORITY,
    "crc32c": TlvType.CRC32C,
    "unique_id": TlvType.UNIQUE_ID,
    "netns": TlvType.NETNS,
}
"""What ``tlvs`` can set by name; types of one's own have none."""

FORWARDABLE: Mapping[str, TlvType] = {
    **{name: type for name, type in OWN.items() if type is not TlvType.CRC32C},
    "ssl": TlvType.SSL,
}
"""What ``forward_tlvs`` can list by name. A received checksum fits the received header alone."""

ALL = "all"
"""The entry of ``forward_tlvs`` for every type but padding and the checksum."""

CUSTOM = range(0xE0, 0xF8)
"""The types that anybody may use: 0xE0 to 0xEF as applications like, 0xF0 to 0xF7 for experiments."""

_WORDS: Mapping[tuple[int, str], Computed] = {
    (TlvType.AUTHORITY, Computed.SNI.value): Computed.SNI,
    (TlvType.UNIQUE_ID, Computed.UUID.value): Computed.UUID,
}
_OPTIONS: Mapping[str, tuple[int, Computed]] = {
    "authority": (TlvType.AUTHORITY, Computed.SNI),
    "crc32c": (TlvType.CRC32C, Computed.CHECKSUM),
    "unique-id": (TlvType.UNIQUE_ID, Computed.UUID),
}
_MOST_BYTES: Mapping[int, int] = {TlvType.UNIQUE_ID: 128}


def own_tlvs(send: SendProxy) -> Mapping[int, TlvValue]:
    """Read ``tlvs`` and those ``proxy_v2_options`` that are TLVs of their own; where both set one, ``tlvs`` wins.

    Returns: type -> what goes into it, in the file's order. The options about TLS stay in ``proxy_v2_options``.
    Raises: ConfigError with every problem, each starting with the key within ``send_proxy``.
    """
    found: dict[int, TlvValue | None] = {}
    problems: list[str] = []
    for name, text in send.tlvs.items():
        try:
            type = _type(name, OWN)
            if type in found:
                raise ConfigError("the same type is there already")
            found[type] = _value(type, text)
        except ConfigError as error:
            problems += [f"{join('tlvs', name)}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    for option in send.proxy_v2_options:
        if option in _OPTIONS:
            type, value = _OPTIONS[option]
            found.setdefault(type, value)
    return {type: value for type, value in found.items() if value is not None}


def forwarded_types(send: SendProxy) -> frozenset[int]:
    """Read ``forward_tlvs``: the types to pass on where they were received.

    Raises: ConfigError with every problem, each starting with the key within ``send_proxy``.
    """
    found: set[int] = set()
    problems: list[str] = []
    for index, name in enumerate(send.forward_tlvs):
        try:
            types = _forwarded(name)
            if types & found:
                raise ConfigError(f'"{name}" is listed already')
            found |= types
        except ConfigError as error:
            problems += [f"forward_tlvs[{index}]: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    return frozenset(found)


def _forwarded(name: str) -> set[int]:
    if name == ALL:
        return set(range(256)) - {TlvType.CRC32C, TlvType.NOOP}
    if name == "crc32c":
        raise ConfigError('a received checksum fits no other header: for a new one set "crc32c = true" in "tlvs"')
    return {_type(name, FORWARDABLE)}


def _type(name: str, known: Mapping[str, TlvType]) -> int:
    """Find the type that a name or a number such as ``0xE4`` stands for."""
    if name in known:
        return known[name]
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,2}", name):
        raise ConfigError(
            f'"{name}" is no TLV that can be here, nor a number such as "0xE4"{unknown_name(name, known)}'
        )
    type = int(name, 16)
    if type in CUSTOM:
        return type
    meant = next((other for other, named in known.items() if named == type), None)
    if meant is not None:
        raise ConfigError(f'"{name}" has a name: write "{meant}"')
    raise ConfigError(f'"{name}" is not possible: a type given by its number is from "0xE0" to "0xF7"')


def _value(type: int, text: str | bool) -> TlvValue | None:
    """Read what goes into a TLV; ``None`` for a checksum that is not wanted."""
    if type == TlvType.CRC32C:
        if not isinstance(text, bool):
            raise ConfigError(f'expected true or false, got "{text}"')
        return Computed.CHECKSUM if text else None
    if isinstance(text, bool):
        raise ConfigError(f"expected a string, got {str(text).lower()}")
    if not text:
        raise ConfigError("is empty")
    if (type, text) in _WORDS:
        return _WORDS[type, text]
    template = parse_template(text)
    least = sum(len(part.encode()) for part in template if isinstance(part, str))
    if least > _MOST_BYTES.get(type, 65535):
        raise ConfigError(f"is too long: its text alone has {least} bytes")
    return template
