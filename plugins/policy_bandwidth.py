"""``use = "bandwidth"``: how many bytes per second a connection may bring and take, or all that share a key together.

Source: HAProxy configuration.txt, section 9.7 "Bandwidth limitation": ``filter bwlim-in`` and ``filter bwlim-out``.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec
from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    Fact,
    Facts,
    IFactPolicy,
    IPolicy,
    Key,
    Options,
    Runtime,
    Size,
    Stage,
    Supply,
    TokenBucket,
    Verdict,
    hookimpl,
    parse_key,
)

CONNECTION = "connection"
KEYS = 100_000
"""Values of a key that are remembered where nothing else is said."""
LEAST_BURST = 4096
"""Bytes of the burst where none is given, at least; else it is what a tenth of a second brings."""
BURSTS_PER_S = 10
"""A burst is a tenth of a second's worth at least: who waits is looked after each 50 ms, or just misses that."""
KEPT_S = 10.0
"""Seconds for which the buckets of a key that nobody uses are kept at least, and until they are full again."""

Rate = Annotated[Size, Meta(ge=1)]


class BandwidthOptions(Options, frozen=True):
    """``in``, ``out``: bytes per second from clients and to them. ``burst``: how many may pass at once after a pause.

    ``per``: ``connection``, or a fact whose value several connections share. ``keys``: how many values are remembered.
    """

    in_: Rate | None = msgspec.field(name="in", default=None)
    out: Rate | None = None
    burst: Annotated[Size, Meta(ge=1)] | None = None
    per: str = CONNECTION
    keys: Annotated[int, Meta(ge=1, le=10_000_000)] = KEYS


class _Kept:
    """A bucket that is kept though perhaps nobody uses it. ``used_at``: what its bucket said of that when ``at``."""

    __slots__ = ("at", "bucket", "used_at")

    def __init__(self, bucket: TokenBucket, now: float) -> None:
        self.bucket = bucket
        self.at = now
        self.used_at = bucket.used_at


class Buckets:
    """One bucket for each key. Of those that no connection uses it keeps ``most``, and none that has long been full."""

    def __init__(self, make: Callable[[], TokenBucket], most: int, clock: Any) -> None:
        one = make()
        self._make = make
        self._most = most
        self._seconds: Callable[[], float] = clock.seconds
        self._kept_s = max(KEPT_S, one.burst / one.rate)
        self._kept: OrderedDict[bytes | None, _Kept] = OrderedDict()
        self._used: WeakValueDictionary[bytes | None, TokenBucket] = WeakValueDictionary()

    def of(self, key: bytes | None) -> TokenBucket:
        """Return the bucket of ``key``: the one that others use, or have used not long ago."""
        now = self._seconds()
        entry = self._kept.get(key)
        if entry is not None:
            entry.at, entry.used_at = now, entry.bucket.used_at
            self._kept.move_to_end(key)
            return entry.bucket
        bucket = self._used.get(key)
        if bucket is None:
            bucket = self._used[key] = self._make()
        self._kept[key] = _Kept(bucket, now)
        self._tidy(now)
        return bucket

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def _tidy(self, now: float) -> None:
        """Drop the oldest, two for each that is new at most, so that no call takes long."""
        for _ in range(2):
            key, entry = next(iter(self._kept.items()))
            crowded = len(self._kept) > self._most
            if not crowded and now - entry.at < self._kept_s:
                return
            if not crowded and entry.bucket.used_at != entry.used_at:
                entry.at, entry.used_at = now, entry.bucket.used_at
                self._kept.move_to_end(key)
            else:
                del self._kept[key]


@implementer(IFactPolicy)
class BandwidthPolicy:
    """Shapes what it is asked about, and allows it."""

    def __init__(self, options: BandwidthOptions, runtime: Runtime) -> None:
        self.stage = Stage.ADMISSION
        self._per = options.per
        self._key: Key | None = None
        self._own: WeakKeyDictionary[Facts, tuple[TokenBucket | None, TokenBucket | None]] = WeakKeyDictionary()
        self._make = [_maker(rate, options.burst) for rate in (options.in_, options.out)]
        self._shared = [None if make is None else Buckets(make, options.keys, runtime.clock) for make in self._make]

    def use_facts(self, find: Callable[[str], tuple[Fact, Callable[[Facts], Any]]]) -> None:
        """See ``IFactPolicy``."""
        if self._per != CONNECTION:
            try:
                self._key = parse_key(self._per, find)
            except ConfigError as error:
                raise ConfigError(*(f"per: {problem}" for problem in error.problems)) from None
            self.stage = Stage.ADMISSION if self._key.stage is Stage.ADMISSION else Stage.POLICY

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; connections that have no such fact share one bucket, as they must not have no limit."""
        if self._key is None:
            incoming, outgoing = self._of_connection(facts)
        else:
            key = self._key.of(facts)
            incoming, outgoing = (None if one is None else one.of(key) for one in self._shared)
        facts.shape(incoming, outgoing)
        return ALLOW

    def _of_connection(self, facts: Facts) -> tuple[TokenBucket | None, TokenBucket | None]:
        """Return its own buckets: in HTTP mode the same for each of its requests."""
        own = self._own.get(facts)
        if own is None:
            incoming, outgoing = (None if make is None else make() for make in self._make)
            own = self._own[facts] = incoming, outgoing
        return own


def _maker(rate: int | None, burst: int | None) -> Callable[[], TokenBucket] | None:
    if rate is None:
        return None
    size = max(-(-rate // BURSTS_PER_S), LEAST_BURST) if burst is None else burst
    return lambda: TokenBucket(rate, size)


def build(options: BandwidthOptions, runtime: Runtime) -> BandwidthPolicy:
    """Build the policy of one entry. Raises: ConfigError."""
    problems = []
    rates = [rate for rate in (options.in_, options.out) if rate is not None]
    if not rates:
        problems.append('it needs "in", "out" or both')
    burst = options.burst
    if burst is not None and rates and burst * BURSTS_PER_S < max(rates):
        least = -(-max(rates) // BURSTS_PER_S)
        problems.append(f'burst: with less than "{least}B", which come in 100ms, the rate could never be had')
    if options.keys != KEYS and options.per == CONNECTION:
        problems.append('keys: only beside "per" with a fact: a connection of its own shares nothing')
    if problems:
        raise ConfigError(*problems)
    return BandwidthPolicy(options, runtime)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``bandwidth``."""
    return {"bandwidth": Supply(build, BandwidthOptions, runtime=True)}
