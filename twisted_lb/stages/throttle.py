"""Waiting for tokens: who shares a bucket waits in one line; a relay between two streams behaves as if it were full.

Stage: relay, of connections that a policy has shaped.
In: a relay that has not started yet, and the buckets of either direction.
Out: nothing; bytes pass later than they would.
Never: passes a byte that a bucket has no token for, keeps one itself, or costs a connection anything that has no limit.
Source: HAProxy configuration.txt, section 9.7 "Bandwidth limitation"; Linux, tc-tbf(8).

All that wait at a bucket are looked at together, each 50 ms (the slots of the timer wheel), first come first served,
and each gets an equal part of what is there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted_lb.net.poll import EPOLLOUT
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.relay import StreamRelay, StreamSide
from twisted_lb.token_bucket import Shaping, TokenBucket

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed


class Line:
    """Those who wait at one bucket; it exists as long as there is one. ``waiting``: in their order."""

    __slots__ = ("_bucket", "_wheel", "timer_slot", "waiting")

    def __init__(self, bucket: TokenBucket, wheel: TimerWheel) -> None:
        self.timer_slot: set[Timed] | None = None
        self.waiting: dict[Throttle, None] = {}
        self._bucket = bucket
        self._wheel = wheel
        bucket.line = self

    def join(self, throttle: "Throttle", now: float) -> None:
        """Wait behind all others."""
        self.waiting[throttle] = None
        if self.timer_slot is None:
            self._wheel.arm(self, self._bucket.wait_s(self._bucket.least, now), now)

    def leave(self, throttle: "Throttle") -> None:
        """Wait no more."""
        self.waiting.pop(throttle, None)
        if not self.waiting:
            self._close()

    def timer_due(self, now: float) -> None:
        """See ``Timed``: share out what is there; who gets too little to be worth it stays in front."""
        try:
            self._share_out(now)
        finally:  # whatever one of them does: the others wait for their turns
            if not self.waiting:
                self._close()
            elif self.timer_slot is None:
                self._wheel.arm(self, self._bucket.wait_s(self._bucket.least, now), now)

    def _share_out(self, now: float) -> None:
        bucket, waiting = self._bucket, self.waiting
        left = bucket.room(now)
        for _ in range(len(waiting)):
            if left < bucket.least or not waiting:
                break
            share = max(left // len(waiting), bucket.least)
            throttle = next(iter(waiting))
            del waiting[throttle]
            left -= share
            throttle.turn_came(bucket, share, now)

    def _close(self) -> None:
        # The two refer to each other: without this they would live until the garbage collector comes by.
        self._wheel.disarm(self)
        self._bucket.line = None


class Throttle:
    """What one direction of one connection takes from its buckets. A token of each is taken for each byte."""

    __slots__ = ("_buckets", "_from", "_line", "_share", "_tight", "_wheel")

    def __init__(self, buckets: Sequence[TokenBucket], wheel: TimerWheel) -> None:
        self._buckets = buckets
        self._wheel = wheel
        self._line: Line | None = None
        self._from: TokenBucket | None = None
        self._tight = buckets[0]
        self._share = 0

    @property
    def waits(self) -> bool:
        """Whether it stands in a line: nothing may pass until its turn has come."""
        return self._line is not None

    def room(self, wanted: int, now: float) -> int:
        """How many of ``wanted`` bytes may pass now; if none may it stands in line, and ``turn_came`` will tell."""
        allowed = wanted
        for bucket in self._buckets:
            room = bucket.room(now)
            if bucket is self._from:
                room = min(room, self._share)
            elif bucket.line is not None:
                room //= 1 + len(bucket.line.waiting)
            if room < allowed:
                if room < wanted and room < bucket.least:
                    self._wait_at(bucket, now)
                    return 0
                allowed = room
                self._tight = bucket
        return allowed

    def passed(self, count: int) -> None:
        """So many have passed."""
        for bucket in self._buckets:
            bucket.take(count)
        self._share -= count

    def _wait_at(self, bucket: TokenBucket, now: float) -> None:
        line = self._line = bucket.line or Line(bucket, self._wheel)
        line.join(self, now)

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        """It stands in line no more, and may take ``share`` from ``bucket`` until ``turn_over``."""
        self._line = None
        self._from, self._share = bucket, share

    def turn_over(self) -> None:
        """From now on it shares with all others again what there is."""
        self._from = None

    def excuse(self, now: float) -> None:
        """Let no timer run for what waits here: a side of a relay is not idle because it is us who hold it up."""
        raise NotImplementedError

    def stop(self) -> None:
        """Wait no more; what it belonged to is over."""
        line, self._line = self._line, None
        if line is not None:
            line.leave(self)


class SendThrottle(Throttle):
    """In front of a stream's ``send``: says that the kernel is full where there are no tokens.

    The relay keeps what was not taken, one window at most, reads no more from the other side, and tries again when it
    is told that there is room.
    """

    __slots__ = ("_poller", "_send", "_side")

    def __init__(self, side: StreamSide, buckets: Sequence[TokenBucket], wheel: TimerWheel) -> None:
        super().__init__(buckets, wheel)
        self._side: StreamSide | None = side
        self._poller = side.poller
        self._send = side.send

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send what there are tokens for. Returns: how many bytes. Raises: BlockingIOError for none, and OSError."""
        if self._line is not None:
            raise BlockingIOError
        wanted, now = len(data), self._poller.now
        allowed = self.room(wanted, now)
        if not allowed:
            raise BlockingIOError
        sent = self._send(data, flags) if allowed == wanted else self._send(memoryview(data)[:allowed])
        self.passed(sent)
        if sent == allowed < wanted:
            self._wait_at(self._tight, now)
        return sent

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        """See ``Throttle``: have the relay try again, from the poller's loop."""
        super().turn_came(bucket, share, now)
        self._poller.again(self)

    def on_events(self, events: int) -> None:
        """See ``Watcher``: its turn has come."""
        side = self._side
        if side is not None and side.pending is not None:
            side.blocked_since = self._poller.now  # until now it was us who held it up
            side.on_events(EPOLLOUT)
        self.turn_over()

    def on_crash(self) -> None:
        """See ``Watcher``."""
        if self._side is not None:
            self._side.on_crash()

    def excuse(self, now: float) -> None:
        """See ``Throttle``."""
        side = self._side
        if self._line is not None and side is not None and side.pending is not None:
            side.blocked_since = now

    def stop(self) -> None:
        """See ``Throttle``."""
        super().stop()
        self._side = None


def throttle_streams(relay: StreamRelay, shaping: Shaping, wheel: TimerWheel) -> None:
    """Shape a relay that has not started. Who puts something else in front of ``send`` does it after this."""
    made = []
    for side, buckets in ((relay.server, shaping.in_), (relay.client, shaping.out)):
        if buckets:
            throttle = SendThrottle(side, buckets, wheel)
            side.send = throttle.send
            made.append(throttle)
    relay.throttles = made
