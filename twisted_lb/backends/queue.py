"""Who waits for a slot of a backend: by class, and in a class longest first.

Source: HAProxy configuration.txt, "http-request set-priority-class".
"""

from collections import OrderedDict
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """First come, first served within a class; the lowest class before all others, for as long as it has members.

    Whoever comes, leaves or is served takes the time of one step, a new class that of the logarithm of how many classes
    there are: a full queue may leave at once. Members are hashable, and nobody is in it twice.
    """

    __slots__ = ("_classes", "_lowest", "class_of")

    def __init__(self) -> None:
        self.class_of: dict[T, int] = {}
        """Who waits, and in which class; whoever only wants to know whether anybody does saves a call."""
        # Not plain dicts: there, finding the first becomes slow when many before it have left.
        self._classes: dict[int, OrderedDict[T, None]] = {}
        self._lowest: list[int] = []
        """A heap of the classes; those that have become empty leave it when they come first."""

    def __len__(self) -> int:
        return len(self.class_of)

    def __contains__(self, member: T) -> bool:
        return member in self.class_of

    def append(self, member: T, priority: int = 0) -> None:
        """Let one wait, behind all others of the class ``priority``."""
        members = self._classes.get(priority)
        if members is None:
            members = self._classes[priority] = OrderedDict()
            heappush(self._lowest, priority)
        members[member] = None
        self.class_of[member] = priority

    def remove(self, member: T) -> None:
        """Let one leave, wherever it is. Raises: KeyError if it is not there."""
        del self._classes[self.class_of.pop(member)][member]

    def popleft(self) -> T:
        """Let the one leave whose turn it is, and return it. Raises: KeyError if there is none."""
        if not self.class_of:
            raise KeyError("nobody waits")
        while not (members := self._classes[self._lowest[0]]):
            del self._classes[heappop(self._lowest)]
        member = members.popitem(last=False)[0]
        del self.class_of[member]
        return member
