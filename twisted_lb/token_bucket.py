"""How many bytes may pass: a bucket of tokens that time fills, and that whoever shares it empties.

Over any span of ``t`` seconds no more than ``burst + rate * t`` are taken out, if nobody takes more than there is room
for. Who cannot hold bytes back that are here already may take once more than there is, and then waits for it.
Source: RFC 2697, section 3, on token buckets; HAProxy configuration.txt, section 9.7 "Bandwidth limitation".
"""

from collections.abc import Sequence
from typing import Any

SMALLEST = 1024
"""Bytes that a turn is worth taking for: fewer would cost more in packets than they carry."""


class TokenBucket:
    """One bucket, full at first; a token is a byte.

    ``rate``: tokens that come in per second. ``burst``: the most there can be. ``least``: what whoever waits waits for.
    ``line``: those who wait at it, if any do; it belongs to ``stages.throttle``. Times are seconds of any one clock.
    """

    __slots__ = ("__weakref__", "_filled_at", "_tokens", "burst", "least", "line", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a bucket without a rate or without room would never let anything pass")
        self.rate = rate
        self.burst = burst
        self.least = min(SMALLEST, burst // 2 or 1)  # more may come in until whoever waits is looked after
        self.line: Any = None
        self._tokens = float(burst)
        self._filled_at: float | None = None

    def room(self, now: float) -> int:
        """How many may be taken now; negative after more than there were have been taken."""
        before = self._filled_at
        if before is None:
            self._filled_at = now
        elif now > before:
            tokens = self._tokens + (now - before) * self.rate
            self._tokens = tokens if tokens < self.burst else float(self.burst)
            self._filled_at = now
        return int(self._tokens // 1)

    def take(self, count: int) -> None:
        """Take ``count`` out, after having asked for ``room``."""
        self._tokens -= count

    def wait_s(self, wanted: int, now: float) -> float:
        """In how many seconds there is room for ``wanted``, of which no more than ``burst`` can ever be; 0: now."""
        missing = min(wanted, self.burst) - self.room(now)
        return missing / self.rate if missing > 0 else 0.0

    @property
    def used_at(self) -> float | None:
        """When it was last asked for room; ``None``: never."""
        return self._filled_at


class Shaping:
    """The buckets that a connection has to take from, in HTTP mode a request: each of them, for each byte.

    ``in_``: for what the client sends. ``out``: for what it is sent. Never changes: ``plus`` makes another one.
    """

    __slots__ = ("in_", "out")

    def __init__(self, in_: Sequence[TokenBucket] = (), out: Sequence[TokenBucket] = ()) -> None:
        self.in_ = tuple(in_)
        self.out = tuple(out)

    def plus(self, in_: TokenBucket | None, out: TokenBucket | None) -> "Shaping":
        """Return one with these two buckets as well, each once."""
        return Shaping(_with(self.in_, in_), _with(self.out, out))


def _with(buckets: tuple[TokenBucket, ...], bucket: TokenBucket | None) -> tuple[TokenBucket, ...]:
    return buckets if bucket is None or bucket in buckets else (*buckets, bucket)
