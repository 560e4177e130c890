"""How many connections there may be, and who waits for that to change.

Stage: admission, before the first: a listener takes no more from the kernel than fits below every limit.
In: three limits per connection: the process's, the frontend's, the bind's.
Out: room, or a listener that pauses; clients then wait in the kernel's backlog.
Never: refuses a connection.
Source: HAProxy configuration.txt, "maxconn".
"""

from typing import Protocol


class Pausable(Protocol):
    """A listener that can stop accepting for a while."""

    def resume(self) -> None:
        """There may be room again; called at most once per pause."""


class Limit:
    """A count with a most; ``maximum`` is ``None`` for no limit."""

    __slots__ = ("_paused", "count", "maximum")

    def __init__(self, maximum: int | None = None) -> None:
        self.maximum = maximum
        self.count = 0
        """Connections now."""
        self._paused: list[Pausable] = []

    def room(self, wanted: int) -> int:
        """How many of ``wanted`` more connections fit."""
        if self.maximum is None:
            return wanted
        return min(wanted, self.maximum - self.count)

    def give_back(self) -> None:
        """One connection less; wakes the listeners that wait for room."""
        self.count -= 1
        if self._paused and (self.maximum is None or self.count < self.maximum):
            self.wake()

    def wait(self, listener: Pausable) -> None:
        """Call ``listener.resume()`` when there is room."""
        self._paused.append(listener)

    def wake(self) -> None:
        """Resume every listener that waits; also after ``maximum`` has been raised."""
        paused, self._paused = self._paused, []
        for listener in paused:
            listener.resume()
