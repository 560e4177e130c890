"""Lines of text, cut out of a stream whose pieces may end anywhere.

Source: RFC 5321, section 2.3.8, for why CR and LF alone are refused: programs differ in what they take for a line's
end, and what one takes for text is a command to the next.
"""

from twisted_lb.errors import WireError


class LineSplitter:
    """Keeps the line that has begun; the rest of what came stays the caller's.

    ``name``: what the reasons of its errors begin with. ``max_bytes``: of one line, its end included. ``lenient``: a LF
    without a CR ends a line too.
    """

    __slots__ = ("_lenient", "_max_bytes", "_name", "begun")

    def __init__(self, name: str, max_bytes: int, *, lenient: bool = False) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._lenient = lenient
        self.begun = b""
        """What there is of the line whose end has not come; never more than ``max_bytes``."""

    def take(self, data: bytes, start: int = 0) -> tuple[bytes | None, int]:
        """Take one line out of what came next, which is ``data`` from ``start`` on.

        Returns: the line without its end, and where in ``data`` the next one begins; ``None`` if it has no end yet, and
            then all of ``data`` has been taken.
        Raises: WireError ``NAME-line-long`` as soon as it cannot fit, ``NAME-line-end`` for a CR or a LF alone, and
            ``NAME-line-nul``; no other exception. Offsets count from the line's first byte.
        Cost: linear in what is given, but for the line that has begun, which is copied at each call.
        """
        room = self._max_bytes - len(self.begun)
        end = data.find(b"\n", start, start + room)
        if end >= 0:
            line = self.begun + data[start:end]
            self.begun = b""
            return self._checked(line), end + 1
        if len(data) - start >= room:
            raise WireError(f"{self._name}-line-long", self._max_bytes)
        self.begun += data[start:]
        return None, len(data)

    def _checked(self, line: bytes) -> bytes:
        """Return a line whose LF is gone without its CR."""
        if line.endswith(b"\r"):
            line = line[:-1]
        elif not self._lenient:
            raise WireError(f"{self._name}-line-end", len(line))
        wrong = line.find(b"\r")
        if wrong >= 0:
            raise WireError(f"{self._name}-line-end", wrong)
        wrong = line.find(b"\0")
        if wrong >= 0:
            raise WireError(f"{self._name}-line-nul", wrong)
        return line
