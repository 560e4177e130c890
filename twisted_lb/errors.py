"""Whose fault it is.

``ConfigError``: the operator's, at start-up or reload. ``WireError``: the remote side's. ``PluginError``: a plugin's.
What is expected is not an exception but a verdict (see ``verdicts.py``) or an ending (see ``endings.py``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class LbError(Exception):
    """The root of this package's exceptions."""


class ConfigError(LbError):
    """What the operator asked for cannot be done; raised only at start-up and reload.

    ``problems``: one complete message each, in the order in which they were found; never empty.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


@contextmanager
def found_in(source: str) -> Iterator[None]:
    """Let each problem of a ConfigError begin with where the setting was read, such as the file; "" for nowhere."""
    try:
        yield
    except ConfigError as error:
        if not source:
            raise
        start = f"{source}: "
        # Those about what a plugin supplies have it already: they are told by a Use, which knows its place.
        problems = [problem if problem.startswith(start) else start + problem for problem in error.problems]
        raise ConfigError(*problems) from None


class WireError(LbError):
    """The bytes of the remote side break their protocol.

    ``reason``: a stable, greppable word such as ``payload-mismatch``. ``offset``: where in the bytes, 0-based.
    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.reason = reason
        self.offset = offset


class PluginError(LbError):
    """A plugin broke its contract while the proxy ran: it raised, answered nonsense or overran its deadline."""

    def __init__(self, plugin: str, what: str) -> None:
        super().__init__(f"plugin {plugin!r} {what}")
        self.plugin = plugin
        self.what = what


def shown(value: object) -> str:
    """``repr(value)`` for a message about what a plugin raised or answered, also when that repr raises."""
    try:
        return repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{type(value).__name__} whose repr raises>"
