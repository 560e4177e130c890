"""How many connections there may be, and who waits for that to change.

Stage: admission, before the first: a listener takes no more from the kernel than fits below every limit.
In: three limits per connection: the process's, the frontend's, the bind's.
Out: room, or a listener that pauses; clients then wait in the kernel's backlog.
Never: refuses a connection.
Source: HAProxy configuration.txt, "maxconn".
"""

from collections import OrderedDict
from typing import Protocol


class Pausable(Protocol):
    """A listener that can stop accepting for a while."""

    def resume(self, by: "Limit | None" = None) -> bool:
        """There may be room again, says ``by``.

        Returns: whether it will call ``by.wake_next()`` itself, when it has seen whether any client waits for it; if
            not, the next listener is resumed at once. Called for one that is not paused (any more), it does nothing.
        """


class Limit:
    """A count with a most; ``maximum`` is ``None`` for no limit. ``waiting``: listeners, the longest first."""

    __slots__ = ("_waking", "count", "maximum", "waiting")

    def __init__(self, maximum: int | None = None) -> None:
        self.maximum = maximum
        self.count = 0
        """Connections now."""
        self.waiting: OrderedDict[Pausable, None] = OrderedDict()
        self._waking = False

    def room(self, wanted: int) -> int:
        """How many of ``wanted`` more connections fit."""
        if self.maximum is None:
            return wanted
        return min(wanted, self.maximum - self.count)

    def give_back(self) -> None:
        """One connection less; wakes the listener that has waited longest for room."""
        self.count -= 1
        if self.waiting:
            self.wake_next()

    def wait(self, listener: Pausable) -> None:
        """Call ``listener.resume(self)`` when there is room and its turn has come."""
        self.waiting[listener] = None

    def wake_next(self) -> None:
        """Resume one listener, if there is room and one waits: a thousand that wait for one place would find it taken.

        Whoever is resumed and leaves room calls this again, so that there is never room while one waits in vain.
        """
        if self._waking:
            return  # a connection ended while a listener was being resumed: the loop below sees that place too
        self._waking = True
        try:
            for _ in range(len(self.waiting)):
                if self.room(1) < 1:
                    return
                listener, _ = self.waiting.popitem(last=False)
                if listener.resume(self):
                    return
        finally:
            self._waking = False

    def wake(self) -> None:
        """Resume as many listeners as there are places; to be called when ``maximum`` has been raised."""
        for _ in range(self.room(len(self.waiting))):
            self.wake_next()
