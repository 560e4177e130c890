"""Under which dotted key a setting stands that may be an entry's own, or come from the table around it.

So that what is wrong with it is told with the key to look for in the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from twisted_lb.config.model import Server
from twisted_lb.config.tcp import Tcp
from twisted_lb.errors import ConfigError

_OF_BIND = ("transparent", "original_dst", "interface", "namespace")
_OF_SERVER = ("source", "namespace", "tcp")


def option_key(own: Tcp | UnsetType, entry: str, around: str, option: str) -> str:
    """Return the key of an option of ``tcp``, such as ``keepalive.idle``.

    ``own``: what the entry itself says; ``entry``, ``around``: the keys of the entry and of the table around it.
    """
    name = option.partition(".")[0]
    is_own = not isinstance(own, UnsetType) and not isinstance(getattr(own, name, UNSET), UnsetType)
    return f"{entry if is_own else around}.tcp.{option}"


@dataclass(frozen=True, slots=True)
class BindKeys:
    """Those of one entry of ``bind``. ``around``: the frontend's key; ``own``: the entry's own ``tcp``."""

    around: str
    index: int
    own: Tcp | UnsetType = UNSET

    @property
    def entry(self) -> str:
        """The key of the entry itself."""
        return f"{self.around}.bind[{self.index}]"

    def whole(self, problem: str) -> str:
        """Put the whole key before a problem that begins with a setting's, or with none if it is the address's."""
        setting, _, what = problem.partition(": ")
        if setting.startswith("tcp."):
            return f"{option_key(self.own, self.entry, self.around, setting.removeprefix('tcp.'))}: {what}"
        if setting == "tcp":
            return f"{self.around if isinstance(self.own, UnsetType) else self.entry}.{problem}"
        return f"{self.entry}.{problem}" if setting in _OF_BIND else f"{self.entry}: {problem}"

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Let the problems of a ConfigError begin with the whole key."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(*map(self.whole, error.problems)) from None


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """Those of one server. ``around``: the backend's key; ``own``: what the server itself says."""

    around: str
    name: str
    own: Server

    @property
    def entry(self) -> str:
        """The key of the server itself."""
        return f"{self.around}.servers.{self.name}"

    def of(self, setting: str) -> str:
        """Return the key of a setting that the server may inherit."""
        own = getattr(self.own, setting) is not UNSET
        return f"{self.entry if own else self.around}.{setting}"

    def whole(self, problem: str) -> str:
        """Put the whole key before a problem that begins with a setting's."""
        setting, _, what = problem.partition(": ")
        if setting.startswith("tcp."):
            return f"{option_key(self.own.tcp, self.entry, self.around, setting.removeprefix('tcp.'))}: {what}"
        return f"{self.of(setting)}: {what}" if setting in _OF_SERVER else f"{self.entry}: {problem}"
