"""Where a body ends: bytes in, the bytes to pass on and how many were taken out.

What is passed on are slices of what was given (``memoryview`` or ``bytes``), never copies of a body's data.

Source: RFC 9112, section 6.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from twisted_lb.wire.http1_errors import Http1Error

Buffer: TypeAlias = bytes | memoryview


class Body(Protocol):
    """The rest of a message, fed as it comes. What follows its end stays the caller's."""

    done: bool
    """Nothing more belongs to the body."""
    taken: int
    """How many bytes there were of it."""

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take what of ``data`` belongs to the body: all of it unless that makes ``done`` true.

        Returns: what to pass on, and how many bytes were taken.
        Raises: Http1Error with the offset from the body's first byte; nothing may be fed after that.
        """

    def finish(self) -> None:
        """The connection has ended. Raises Http1Error ``http1-body-truncated`` if the body has not."""


class LengthBody:
    """A body of ``remaining`` bytes."""

    __slots__ = ("done", "remaining", "response", "taken")

    def __init__(self, length: int, *, response: bool = False) -> None:
        self.remaining = length
        self.taken = 0
        self.done = length == 0
        self.response = response

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take what belongs to the body; see ``Body.feed``. Data that do whole are passed on as they are."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            self.taken += size
            return ((data,) if size else ()), size
        size = self.remaining
        self.taken += size
        self.remaining = 0
        self.done = True
        if not size:
            return (), 0
        return (data if size == len(data) else memoryview(data)[:size],), size

    def finish(self) -> None:
        """Refuse a body that is too short; see ``Body.finish``."""
        if not self.done:
            raise Http1Error("http1-body-truncated", self.taken, response=self.response)


class UntilCloseBody:
    """A response's body that ends with the connection."""

    __slots__ = ("done", "taken")

    def __init__(self) -> None:
        self.done = False
        self.taken = 0

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take everything; see ``Body.feed``."""
        self.taken += len(data)
        return ((data,) if len(data) else ()), len(data)

    def finish(self) -> None:
        """End the body."""
        self.done = True


class NoBody:
    """A body that is not there."""

    __slots__ = ()

    done = True
    taken = 0

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take nothing."""
        return (), 0

    def finish(self) -> None:
        """Accept the end."""
