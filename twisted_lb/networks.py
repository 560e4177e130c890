"""A set of networks, laid out for asking fast whether an address is in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeAlias

from twisted_lb.errors import ConfigError

UNIX = "unix"
"""The entry that stands for every client of a Unix socket."""

_Prefixes: TypeAlias = Sequence[tuple[int, frozenset[int]]]
"""How many low bits to drop from an address, and the networks of that size: one set look-up per size in use."""

_MAPPED = 0xFFFF
"""What the upper 96 bits of an IPv4 address mapped into IPv6 are (RFC 4291, section 2.5.5.2)."""

_V6 = 1 << 128
"""Added to IPv6 addresses, so that no number stands for two addresses."""

_UNIX_NUMBER = -1


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks, addresses, and perhaps the clients of Unix sockets; made by ``parse``.

    An IPv4 address mapped into IPv6 is the IPv4 address, in entries as in questions. A zone makes no difference.
    Cost: a question takes about half a microsecond, however many entries there are.
    """

    _v4: _Prefixes
    _v6: _Prefixes
    _unix: bool

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Networks":
        """Read networks (``10.0.0.0/8``), addresses (``::1``) and ``unix``.

        Raises: ConfigError with one problem for each entry that is none of these.
        """
        v4: dict[int, set[int]] = {}
        v6: dict[int, set[int]] = {}
        unix = False
        problems: list[str] = []
        for entry in entries:
            if entry == UNIX:
                unix = True
                continue
            try:
                network = ip_network(entry)
            except ValueError as error:
                # Bits beyond the prefix are refused, not dropped: "10.0.0.1/8" may as well mean 10.0.0.1 alone.
                problems.append(f'"{entry}" is no network: {error}')
                continue
            shift = network.max_prefixlen - network.prefixlen
            prefix = int(network.network_address) >> shift
            if network.version == 4:
                v4.setdefault(shift, set()).add(prefix)
            elif shift <= 32 and prefix >> (32 - shift) == _MAPPED:
                v4.setdefault(shift, set()).add(prefix - (_MAPPED << (32 - shift)))
            else:
                v6.setdefault(shift, set()).add(prefix + (_V6 >> shift))
        if problems:
            raise ConfigError(*problems)
        return cls(_frozen(v4), _frozen(v6), unix)

    def contains(self, host: str) -> bool | None:
        """Whether ``host``, as in ``SocketAddress``, is in the set; ``None`` if it is no address at all."""
        number = self.number(host)
        return None if number is None else self.holds(number)

    @staticmethod
    def number(host: str) -> int | None:
        """Turn ``host`` into what ``holds`` takes, to ask several sets; ``None`` if it is no address at all."""
        try:
            if ":" not in host:
                return int.from_bytes(inet_pton(AF_INET, host))
            if host.startswith("unix:"):
                return _UNIX_NUMBER
            value = int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]))
        except (OSError, ValueError):
            return None
        return value & 0xFFFFFFFF if value >> 32 == _MAPPED else value + _V6

    def holds(self, number: int) -> bool:
        """Whether the address that ``number`` gave is in the set."""
        if number < 0:
            return self._unix
        for shift, prefixes in self._v6 if number >= _V6 else self._v4:  # noqa: SIM110  any() costs twice as much
            if number >> shift in prefixes:
                return True
        return False


def _frozen(prefixes: Mapping[int, set[int]]) -> _Prefixes:
    return tuple((shift, frozenset(those)) for shift, those in sorted(prefixes.items()))
