"""What hellos of the same program have in common, so that one that was met before need not be read again.

A program says the same on each of its connections, but for a random, a session id, its shares of keys, tickets, and the
name that it asks for. Whoever knows where those stand compares all else in one go, in a tenth of the time that reading
takes. Programs that shuffle what they say, as Chromium does, are read each time.
"""

from collections.abc import Callable, Hashable, Iterable
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar

MOST: Final = 256
"""Shapes that are kept; when there are more, the oldest goes."""

LONGEST: Final = 4096
"""Bytes of a hello that is worth learning; post-quantum ones take some 2,000. What is said must not fill the memory."""

Value = TypeVar("Value")


class Shape(NamedTuple, Generic[Value]):
    """``take(data)`` are the bytes that must be ``fixed``; ``size``: how many there must be at least, these and others.

    ``value``: what was read from hellos of this shape.
    """

    take: Callable[[bytes], tuple[bytes, ...]]
    fixed: tuple[bytes, ...]
    size: int
    value: Value


class Shapes(Generic[Value]):
    """Shapes by a key: bytes that are likely to tell them apart, and no more than that."""

    __slots__ = ("_met", "_shapes")

    def __init__(self) -> None:
        self._shapes: dict[bytes, Shape[Value]] = {}
        self._met: dict[bytes, int] = {}
        """Hashes: signs may be long, and who takes two for one learns sooner, and nothing wrong."""

    def find(self, key: bytes, data: bytes) -> Value | None:
        """Return what is known of a hello that begins ``data``, ``None`` if nothing is."""
        shape = self._shapes.get(key)
        if shape is None:
            return None
        take, fixed, size, value = shape
        return value if len(data) >= size and take(data) == fixed else None

    def met(self, key: bytes, sign: Hashable) -> bool:
        """Tell whether the last hello with this key had the same ``sign``: then a third may be worth learning for."""
        number = hash(sign)
        if self._met.get(key) == number:
            return True
        if len(self._met) >= MOST:
            self._met.clear()
        self._met[key] = number
        return False

    def learn(self, key: bytes, data: bytes, own: Iterable[tuple[int, int]], value: Value) -> None:
        """Remember ``value`` for hellos as ``data``, of which ``own`` may be anything: where each begins and ends."""
        form, position = "", 0
        for start, end in own:
            form += f"{start - position}s{end - start}x"
            position = end
        struct = Struct(f"{form}{len(data) - position}s")
        if len(self._shapes) >= MOST:
            del self._shapes[next(iter(self._shapes))]
        self._shapes[key] = Shape(struct.unpack_from, struct.unpack(data), len(data), value)
