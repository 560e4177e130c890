"""Is a client's body too slow? Its average rate, over the time in which it was allowed to send.

Stage: body, response and relay, in HTTP mode with ``min_rate``.
In: when we begin and cease to read from the client, and how much has come.
Out: how long it may take at least until the client is too slow.
Never: counts the time in which it was us who did not read, or costs anything per chunk.
Source: Apache's mod_reqtimeout (MinRate); Kestrel's MinRequestBodyDataRate, of which the grace period is.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class LeastRate:
    """What ``min_rate`` says: ``rate`` bytes per second on average, asked for once ``after_s`` have passed."""

    rate: int
    after_s: float


class BodyRate:
    """The rate of one body; nothing is read yet."""

    __slots__ = ("_least", "_read_s", "_since")

    def __init__(self, least: LeastRate) -> None:
        self._least = least
        self._read_s = 0.0
        self._since = inf

    def resume(self, now: float) -> None:
        """From now on the client is read."""
        self._since = min(self._since, now)

    def pause(self, now: float) -> None:
        """From now on it is not."""
        if self._since < inf:
            self._read_s += now - self._since
            self._since = inf

    def left_s(self, now: float, got: int) -> float:
        """How long nothing more may come, ``got`` bytes being here, until it is too slow; 0 or less: it is.

        Infinite while the client is not read.
        """
        if self._since == inf:
            return inf
        return max(self._least.after_s, got / self._least.rate) - self._read_s - (now - self._since)
