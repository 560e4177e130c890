"""What comes in pieces is put together when there may be enough of it, and not at each piece."""

from twisted_lb.verdicts import NeedMore


class Pieces:
    """What has come of something that is not whole. Its bound is that of whoever says how much to wait for."""

    __slots__ = ("_length", "_pieces", "_wanted")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._pieces: list[bytes] = []
        self._length = self._wanted = 0

    def add(self, data: bytes) -> bytes | None:
        """Add what came next; returns all that has come, or ``None`` while it is known not to be enough."""
        self._pieces.append(data)
        self._length += len(data)
        if self._length < self._wanted:
            return None
        whole = b"".join(self._pieces)
        self._pieces = [whole]
        return whole

    def wait(self, need: NeedMore) -> None:
        """Return nothing until there is as much as ``need`` says."""
        self._wanted = need.at_least
