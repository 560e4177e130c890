"""A set of networks, laid out for asking fast whether an address is in it, and small enough for hundreds of thousands.

Overlapping and adjacent networks are merged, and what is kept is the sorted list of *bounds*, the numbers at which
being inside begins and ends in turn: an address is inside if the number of bounds up to it is odd.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeAlias

from twisted_lb.errors import ConfigError

UNIX = "unix"
"""The entry that stands for every client of a Unix socket."""

MOST_NAMED = 20
"""So many bad lines of a file are named one by one."""

SORTED_AT_ONCE = 10_000
"""So many networks are put into their order in one step, which takes a few milliseconds."""

_MAPPED = 0xFFFF
"""What the upper 96 bits of an IPv4 address mapped into IPv6 are (RFC 4291, section 2.5.5.2)."""

_V6 = 1 << 128
"""Added to IPv6 addresses, so that no number stands for two addresses."""

_V6_HIGH = _V6 >> 64
_LOW = (1 << 64) - 1

_UNIX_NUMBER = -1


class Networks:
    """Networks, addresses, and perhaps the clients of Unix sockets; made by ``parse`` or ``read``, never changed.

    An IPv4 address mapped into IPv6 is the IPv4 address, in entries as in questions. A zone makes no difference.
    Cost: a question takes half a microsecond for a few entries, and twice as long for 500,000. An entry takes 8 bytes
    if it is IPv4, 16 if all of IPv6 are of 64 bits or less, else 40 at most; it is read in one to two microseconds.
    """

    __slots__ = ("_first", "_high", "_low", "_unix", "_v4")

    def __init__(self, v4: list[int], v6: list[int], unix: bool) -> None:
        """``v4``, ``v6``: for each network its first address, shifted by 8, and how many low bits are free."""
        self._v4 = array("I", _bounds(v4, 32))
        # Bounds of IPv6 are cut in halves: each upper half once, and from where on in ``low`` its lower halves are.
        self._high = array("Q")
        self._low = array("Q")
        self._first = array("I")
        self._unix = unix
        for bound in _bounds(v6, 128):
            high = bound >> 64
            if not self._high or self._high[-1] != high:
                self._first.append(len(self._low))
                self._high.append(high)
            self._low.append(bound & _LOW)
        if any(self._low):
            self._first.append(len(self._low))
        else:  # the upper halves say it all
            self._low = array("Q")
            self._first = array("I")

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Networks":
        """Read networks (``10.0.0.0/8``), addresses (``::1``) and ``unix``.

        Raises: ConfigError with one problem for each entry that is none of these.
        """
        collected = _Collected()
        problems = []
        for entry in entries:
            try:
                collected.take(entry)
            except ValueError as error:
                problems.append(f'"{entry}" is no network: {error}')
        if problems:
            raise ConfigError(*problems)
        return collected.networks()

    @classmethod
    def read(cls, path: str) -> "Networks":
        """Read a file of such entries, one a line; what follows ``#`` or ``;`` is a comment.

        Raises: ConfigError, which names each bad line with the file and its number.
        """
        collected = _Collected()
        problems: list[str] = []
        bad = 0
        try:
            with open(path, encoding="utf-8", errors="backslashreplace") as file:
                for number, line in enumerate(file, 1):
                    entry = line.partition("#")[0].partition(";")[0].strip()
                    if not entry:
                        continue
                    try:
                        collected.take(entry)
                    except ValueError as error:
                        bad += 1
                        if bad <= MOST_NAMED:
                            problems.append(f'{path}:{number}: "{entry[:80]}" is no network: {str(error)[:160]}')
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        if bad > MOST_NAMED:
            problems.append(f"{path}: and {bad - MOST_NAMED} more lines are no networks")
        if problems:
            raise ConfigError(*problems)
        return collected.networks()

    @staticmethod
    def within(entries: Iterable[str], others: Iterable[str]) -> dict[str, str]:
        """Find, for those of ``entries`` that are wholly within one of ``others``, which one that is.

        Both are as ``parse`` takes them; what is no network is left out. Cost: a few dozen microseconds an entry.
        """
        known: dict[_Span, str] = {}
        for other in others:
            span = _span(other)
            if span is not None:
                known.setdefault(span, other)
        found: dict[str, str] = {}
        for entry in entries:
            span = _span(entry)
            around = () if span is None else [(span[0], span[1] >> free << free, free) for free in range(span[2], 129)]
            nearest = next((one for one in around if one in known), None)
            if nearest is not None:
                found[entry] = known[nearest]
        return found

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
        if number < _V6:
            return bisect_right(self._v4, number) & 1 == 1 if number >= 0 else self._unix
        high = (number >> 64) - _V6_HIGH
        after = bisect_right(self._high, high)
        if not self._first:
            return after & 1 == 1
        bounds = self._first[after]
        if after and self._high[after - 1] == high:
            bounds = bisect_right(self._low, number & _LOW, self._first[after - 1], bounds)
        return bounds & 1 == 1

    @property
    def size_bytes(self) -> int:
        """How much memory the set takes."""
        return sum(column.itemsize * len(column) for column in (self._v4, self._high, self._low, self._first))


class _Collected:
    """The networks of a set that is being read, as ``Networks`` takes them."""

    def __init__(self) -> None:
        self.v4: list[int] = []
        self.v6: list[int] = []
        self.unix = False

    def networks(self) -> Networks:
        return Networks(self.v4, self.v6, self.unix)

    def take(self, entry: str) -> None:
        """Add an entry. Raises: ValueError.

        What is spelt as usual is read here; ``ipaddress`` is six times as slow, and left the rest, and what to say.
        """
        host, slash, size = entry.partition("/")
        v6 = ":" in host
        width = 128 if v6 else 32
        try:
            first = int.from_bytes(inet_pton(AF_INET6 if v6 else AF_INET, host))
            free = width - int(size) if slash else 0
            usual = not slash or (size.isdigit() and size.isascii())
        except (OSError, ValueError):
            usual = False
        if not usual or free < 0 or first & ((1 << free) - 1):
            if entry == UNIX:
                self.unix = True
                return
            # Bits beyond the prefix are refused, not dropped: "10.0.0.1/8" may as well mean 10.0.0.1 alone.
            network = ip_network(entry)
            v6 = network.version == 6
            first = int(network.network_address)
            free = network.max_prefixlen - network.prefixlen
        if not v6:
            self.v4.append(first << 8 | free)
        elif free <= 32 and first >> 32 == _MAPPED:
            self.v4.append((first & 0xFFFFFFFF) << 8 | free)
        else:
            self.v6.append(first << 8 | free)


_Span: TypeAlias = tuple[int, int, int]
"""Of a network: its version, 0 for ``unix``; its first address; and how many low bits are free."""


def _span(entry: str) -> _Span | None:
    collected = _Collected()
    try:
        collected.take(entry)
    except ValueError:
        return None
    for version, numbers in ((4, collected.v4), (6, collected.v6)):
        for number in numbers:
            return version, number >> 8, number & 0xFF
    return 0, 0, 0


def _in_order(numbers: list[int]) -> Iterator[int]:
    """Yield the numbers in their order.

    Many are sorted in parts: sorting lets no other thread run, and large lists are read in one beside the reactor.
    """
    if len(numbers) <= SORTED_AT_ONCE:
        yield from sorted(numbers)
        return
    borders = sorted(numbers[:: len(numbers) // 256])
    parts: list[list[int]] = [[] for _ in range(len(borders) + 1)]
    for number in numbers:
        parts[bisect_right(borders, number)].append(number)
    for part in parts:
        yield from sorted(part)


def _bounds(networks: list[int], width: int) -> Iterator[int]:
    """Yield in order where the union of ``networks`` begins and ends; not its end if there is nothing behind it."""
    end = -1
    for network in _in_order(networks):
        first = network >> 8
        behind = first + (1 << (network & 0xFF))
        if first > end:
            if end >= 0:
                yield end
            yield first
            end = behind
        elif behind > end:
            end = behind
    if 0 <= end < 1 << width:
        yield end
