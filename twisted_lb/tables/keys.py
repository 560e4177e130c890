"""What a table is keyed by: a declared fact, or the network that an address belongs to.

A key is spelt ``FACT``, or for an address ``FACT/LENGTH`` or ``FACT/LENGTH/LENGTH``: the lengths of the networks of
IPv4 and of IPv6. Several values, as those of a header's fields, are one key together.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from twisted_lb.declared import Fact, FactType
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts

LONGEST = 32
"""Bytes of a key at most; of a longer text a digest is the key, so that nobody makes entries as large as he likes."""
ONE_SITE = 64
"""The length of the network of IPv6 that one customer has at least; an address in it costs him nothing."""

_MAPPED = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Key:
    """A table's key. ``of(facts)``: its value, 32 bytes at most; ``None`` if it is not known, or no address.

    ``stage``, ``mode``: from which stage on, and in which mode, it is known; as those of a ``Fact``.
    """

    text: str
    fact: str
    stage: Stage
    mode: str | None
    of: Callable[[Facts], bytes | None]


def parse_key(text: str, find: Callable[[str], tuple[Fact, Callable[[Facts], Any]]]) -> Key:
    """Understand a key as the configuration spells it.

    Args: ``find``: returns the fact of a name, and what gets its value; raises ConfigError if there is none.
    Raises: ConfigError.
    """
    name, *lengths = text.split("/")
    fact, get = find(name)
    if fact.type is FactType.ADDRESS:
        of = _networks(get, *_lengths(text, lengths))
    elif lengths:
        raise ConfigError(f'only an address has a network, and "{name}" is {fact.type.value}')
    else:
        of = _texts(get)
    return Key(text, name, fact.stage, fact.mode, of)


def _lengths(text: str, lengths: list[str]) -> tuple[int, int]:
    if not lengths:
        return 32, 128
    if len(lengths) > 2 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise ConfigError(f'"{text}": expected FACT, FACT/LENGTH or FACT/LENGTH/LENGTH, such as "source/24/64"')
    v4, v6 = (*map(int, lengths), ONE_SITE)[:2]
    if not (1 <= v4 <= 32 and 1 <= v6 <= 128):
        raise ConfigError(f'"{text}": networks are 1 to 32 bits long in IPv4, 1 to 128 in IPv6')
    return v4, v6


def _texts(get: Callable[[Facts], Any]) -> Callable[[Facts], bytes | None]:
    def of(facts: Facts) -> bytes | None:
        value = get(facts)
        if value is None:
            return None
        return text_key(", ".join(value) if type(value) is tuple else str(value))

    return of


def text_key(text: str) -> bytes:
    """Return the key that a text is."""
    data = text.encode("utf-8", "surrogateescape")
    return data if len(data) <= LONGEST else blake2b(data, digest_size=LONGEST).digest()


def _networks(get: Callable[[Facts], Any], v4: int, v6: int) -> Callable[[Facts], bytes | None]:
    mask4 = None if v4 == 32 else (1 << 32) - (1 << 32 - v4)
    mask6 = None if v6 == 128 else (1 << 128) - (1 << 128 - v6)
    inet_pton, inet4, inet6 = socket.inet_pton, socket.AF_INET, socket.AF_INET6

    def of(facts: Facts) -> bytes | None:
        host = get(facts)
        if host is None:
            return None
        try:
            if ":" not in host:
                address, mask = inet_pton(inet4, host), mask4
            else:
                address, mask = inet_pton(inet6, host.partition("%")[0]), mask6
                if address.startswith(_MAPPED):
                    address, mask = address[12:], mask4
        except (OSError, ValueError):  # a Unix socket, or what else has no address
            return None
        if mask is None:
            return address
        return (int.from_bytes(address) & mask).to_bytes(len(address))

    return of


def spell_key(key: bytes) -> str:
    """Return a key for people: an address, a text, or the digest of one. Only a guess can tell which of them it is."""
    if len(key) in (4, 16) and not (key.isascii() and key.decode("ascii").isprintable()):
        return socket.inet_ntop(socket.AF_INET if len(key) == 4 else socket.AF_INET6, key)
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return key.hex()
    return text if text.isprintable() else key.hex()
