"""Waiting for tokens between two Twisted transports: a side is not read while there are none.

Stage: relay, of connections that a policy has shaped.
In: a relay that has not started yet, and the buckets of either direction.
Out: nothing; bytes pass later than they would.
Never: keeps a byte. What was read before there could be a pause passes, one read at most, and is waited for afterwards.
Source: as ``throttle``; ``twisted.internet.interfaces.IPushProducer``.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.relay_transports import TransportRelay, TransportSide
from twisted_lb.stages.throttle import Throttle
from twisted_lb.token_bucket import SMALLEST, Shaping, TokenBucket

TURN_S = 0.05
"""How long a turn in line lasts: until the line is looked at again."""


class Debtor(Throttle):
    """A throttle whose bytes cannot be held back: they pass, and no more are read until they are paid for."""

    __slots__ = ("_turn_ends",)

    def __init__(self, buckets: Sequence[TokenBucket], wheel: TimerWheel) -> None:
        super().__init__(buckets, wheel)
        self._turn_ends = 0.0

    def pays(self, count: int, now: float) -> bool:
        """``count`` bytes have passed. Returns: whether more may; else ``turn_came`` will tell."""
        if now >= self._turn_ends:
            self.turn_over()
        self.passed(count)
        return self._line is None and self.room(SMALLEST, now) > 0

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        """See ``Throttle``."""
        super().turn_came(bucket, share, now)
        self._turn_ends = now + TURN_S


class ReadThrottle(Debtor):
    """Pauses and resumes the transport of one side."""

    __slots__ = ("_clock", "_side")

    def __init__(self, side: TransportSide, buckets: Sequence[TokenBucket], wheel: TimerWheel) -> None:
        super().__init__(buckets, wheel)
        self._side: TransportSide | None = side
        self._clock: IReactorTime = side.relay.clock

    def begin(self, count: int) -> None:
        """The relay begins; ``count`` bytes of this side were sent on already."""
        side = self._side
        assert side is not None
        if self.pays(count, self._clock.seconds()):
            side.transport.resumeProducing()
        else:
            side.transport.pauseProducing()

    def read(self, count: int) -> None:
        """``count`` bytes came from this side, and were sent on."""
        side = self._side
        if side is not None and not self.pays(count, self._clock.seconds()):
            side.transport.pauseProducing()

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        """See ``Throttle``: read on, unless it is the other side that takes no more."""
        super().turn_came(bucket, share, now)
        side = self._side
        if side is None:
            return
        relay = side.relay
        relay.last = now
        if not (side.eof or relay.closing or relay.other_of(side).blocked_since):
            side.transport.resumeProducing()

    def excuse(self, now: float) -> None:
        """See ``Throttle``."""
        if self._line is not None and self._side is not None:
            self._side.relay.last = now

    def stop(self) -> None:
        """See ``Throttle``."""
        super().stop()
        self._side = None


def throttle_transports(relay: TransportRelay, shaping: Shaping, wheel: TimerWheel) -> None:
    """Shape a relay that has not started."""
    made = []
    for side, buckets in ((relay.client, shaping.in_), (relay.server, shaping.out)):
        if buckets:
            throttle = side.throttle = ReadThrottle(side, buckets, wheel)
            made.append(throttle)
    relay.throttles = made
