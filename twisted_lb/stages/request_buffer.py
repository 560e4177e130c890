"""A request's body that is held until it is whole: in memory first, then in a temporary file without a name.

Stage: body and response, in HTTP mode with ``buffer_request``.
In: the body as it is to be sent, in pieces.
Out: the same, in pieces, from its first byte as often as it is asked for.
Never: holds more than ``memory`` bytes in memory and ``maximum`` in all, or touches more than one piece at a time.
Source: HAProxy configuration.txt, "option http-buffer-request"; nginx, client_body_buffer_size.
"""

import os
import tempfile
from dataclasses import dataclass
from typing import BinaryIO

PIECE_BYTES = 64 * 1024
"""What is read from the file at once: the reactor waits for the disk while it is."""


@dataclass(frozen=True, slots=True)
class Buffering:
    """What ``buffer_request`` says: bytes in ``memory``, the ``maximum`` in all.

    ``absolute``: head and body have to be here within ``timeouts.http_request``; else the body is only never to stand
    still for longer than ``timeouts.client``.
    """

    memory: int
    maximum: int
    absolute: bool = False


class RequestBuffer:
    """One body. ``size``: how many bytes there are so far."""

    __slots__ = ("_at", "_file", "_held", "_memory", "maximum", "size")

    def __init__(self, settings: Buffering) -> None:
        self.maximum = settings.maximum
        self.size = 0
        self._memory = settings.memory
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._at = 0

    @property
    def in_file(self) -> bool:
        """Whether it went beyond the memory."""
        return self._file is not None

    def write(self, data: bytes) -> bool:
        """Append ``data``; returns whether there was room. Raises: OSError of the temporary file."""
        if not data:
            return True
        size = self.size + len(data)
        if size > self.maximum:
            return False
        if self._file is None and size > self._memory:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - ``close`` closes it
            held, self._held = self._held, bytearray()
            self._append(held)
        if self._file is None:
            self._held += data
        else:
            self._append(data)
        self.size = size
        return True

    def _append(self, data: bytes | bytearray) -> None:
        assert self._file is not None
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def rewind(self) -> None:
        """Read from the first byte again."""
        self._at = 0

    def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises: OSError of the temporary file."""
        at = self._at
        if self._file is None:
            piece = bytes(memoryview(self._held)[at : at + PIECE_BYTES])
        else:
            piece = os.pread(self._file.fileno(), PIECE_BYTES, at)
            if not piece and at < self.size:
                raise OSError("the temporary file is shorter than what was written to it")
        self._at = at + len(piece)
        return piece

    @property
    def ended(self) -> bool:
        """Whether all of it has been read."""
        return self._at >= self.size

    def close(self) -> None:
        """Give memory and file back; nothing is left to be read."""
        self._held = bytearray()
        self.size = self._at = 0
        file, self._file = self._file, None
        if file is not None:
            file.close()
