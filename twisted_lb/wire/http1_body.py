"""Where a body ends: bytes in, the bytes to pass on and how many were taken out.

What is passed on are slices of what was given (``memoryview`` or ``bytes``), never copies of a body's data.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | memoryview


class Body(Protocol):
    """The rest of a message, fed as it comes. What follows its end stays the caller's."""

    done: bool
    """Nothing more belongs to the body."""

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take what of ``data`` belongs to the body: all of it unless that makes ``done`` true.

        Returns: what to pass on, and how many bytes were taken.
        Raises: Http1Error with the offset from the body's first byte; nothing may be fed after that.
        """

    def finish(self) -> None:
        """The connection has ended. Raises Http1Error ``http1-body-truncated`` if the body has not."""
