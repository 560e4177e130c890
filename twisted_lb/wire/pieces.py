"""What comes in pieces is put together when there may be enough of it, and not at each piece."""

from twisted_lb.verdicts import NeedMore


class Pieces:
    """What has come of something that is not whole. Its bound is that of whoever says how much to wait for."""

    __slots__ = ("_said", "_wanted")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._said = bytearray()
        self._wanted = 0

    def add(self, data: bytes) -> bytes | None:
        """Add what came next; returns all that has come, or ``None`` while it is known not to be enough."""
        self._said += data
        return None if len(self._said) < self._wanted else bytes(self._said)

    def wait(self, need: NeedMore) -> None:
        """Return nothing until there is as much as ``need`` says."""
        self._wanted = need.at_least
