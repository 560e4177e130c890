"""Who waits for a slot of a backend, longest first."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """First come, first served. Everything takes the same time however many wait: a full queue may leave at once.

    Members are hashable, and nobody is in it twice. Not a plain dict: there, finding the first becomes slow when many
    before it have left.
    """

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: T) -> bool:
        return member in self._members

    def append(self, member: T) -> None:
        """Let one wait, behind all others."""
        self._members[member] = None

    def remove(self, member: T) -> None:
        """Let one leave, wherever it is. Raises: KeyError if it is not there."""
        del self._members[member]

    def popleft(self) -> T:
        """Let the one leave that has waited longest, and return it. Raises: KeyError if there is none."""
        return self._members.popitem(last=False)[0]
