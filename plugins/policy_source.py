"""``use = "source"``: allow or deny by the client's address.

Source: HAProxy configuration.txt, ``tcp-request connection`` with the ACL ``src``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeAlias

from zope.interface import implementer

from twisted_lb.api import ALLOW, ConfigError, Deny, Facts, IPolicy, Options, Stage, Supply, Verdict, hookimpl

UNIX = "unix"
"""The entry of a list that stands for every client of a Unix socket."""

Prefixes: TypeAlias = Sequence[tuple[int, frozenset[int]]]
"""How many low bits to drop from an address, and the networks of that size: one set look-up per size in use."""

_MAPPED = 0xFFFF
"""What the upper 96 bits of an IPv4 address mapped into IPv6 are (RFC 4291, section 2.5.5.2)."""


class SourceOptions(Options, frozen=True):
    """``allow`` and ``deny``: networks (``10.0.0.0/8``), addresses, or ``unix``.

    ``deny`` wins. With ``allow`` given, even empty, all that it does not contain is denied.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of networks, laid out for asking fast whether an address is in it."""

    v4: Prefixes
    v6: Prefixes
    unix: bool


@implementer(IPolicy)
class SourcePolicy:
    """Judges the client's address; an IPv4 address mapped into IPv6 is the IPv4 address.

    A client of a Unix socket has no address: only the entry ``unix`` matches it. An address of any other kind cannot be
    judged, so it is denied.
    """

    stage = Stage.ADMISSION

    def __init__(self, allow: Networks | None, deny: Networks) -> None:
        self._denied_v4, self._denied_v6 = deny.v4, deny.v6
        self._allowed_v4 = None if allow is None else allow.v4
        self._allowed_v6 = None if allow is None else allow.v6
        self._listed = Deny("source is in deny")
        self._unlisted = Deny("source is not in allow")
        self._unknown = Deny("source is no IP address")
        self._unix: Verdict = ALLOW if allow is None or allow.unix else self._unlisted
        if deny.unix:
            self._unix = self._listed

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; about 1 us."""
        host = facts.source.host
        if host.startswith("unix:"):
            return self._unix
        denied, allowed = self._denied_v6, self._allowed_v6
        try:
            if ":" in host:
                value = int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]))
                mapped = value >> 32 == _MAPPED
            else:
                value = int.from_bytes(inet_pton(AF_INET, host))
                mapped = True
        except (OSError, ValueError):
            return self._unknown
        if mapped:
            value &= 0xFFFFFFFF
            denied, allowed = self._denied_v4, self._allowed_v4
        for shift, prefixes in denied:
            if value >> shift in prefixes:
                return self._listed
        if allowed is None:
            return ALLOW
        for shift, prefixes in allowed:
            if value >> shift in prefixes:
                return ALLOW
        return self._unlisted


def _networks(entries: Sequence[str], option: str, problems: list[str]) -> Networks:
    v4: dict[int, set[int]] = {}
    v6: dict[int, set[int]] = {}
    for entry in entries:
        if entry == UNIX:
            continue
        try:
            network = ip_network(entry)
        except ValueError as error:
            # Bits beyond the prefix are refused, not dropped: "10.0.0.1/8" may as well mean 10.0.0.1 alone.
            problems.append(f'{option}: "{entry}" is no network: {error}')
            continue
        shift = network.max_prefixlen - network.prefixlen
        prefix = int(network.network_address) >> shift
        if network.version == 4:
            v4.setdefault(shift, set()).add(prefix)
        elif shift <= 32 and prefix >> (32 - shift) == _MAPPED:
            v4.setdefault(shift, set()).add(prefix - (_MAPPED << (32 - shift)))
        else:
            v6.setdefault(shift, set()).add(prefix)
    return Networks(_frozen(v4), _frozen(v6), UNIX in entries)


def _frozen(prefixes: Mapping[int, set[int]]) -> Prefixes:
    return [(shift, frozenset(those)) for shift, those in sorted(prefixes.items())]


def build(options: SourceOptions) -> SourcePolicy:
    """Build the policy.

    Raises: ConfigError with each entry that is no network, or when there are no lists at all.
    """
    if options.allow is None and not options.deny:
        raise ConfigError('it needs "allow", "deny" or both')
    problems: list[str] = []
    allow = None if options.allow is None else _networks(options.allow, "allow", problems)
    deny = _networks(options.deny, "deny", problems)
    if problems:
        raise ConfigError(*problems)
    return SourcePolicy(allow, deny)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``source``."""
    return {"source": Supply(build, SourceOptions)}
