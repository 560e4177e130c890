"""The small grammar of durations: a number with a unit, as in ``"250ms"``, ``"5s"`` or ``"1m"``."""


class Duration(float):
    """A span of time in seconds; in the file a string with a unit."""

    __slots__ = ()
