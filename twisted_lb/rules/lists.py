"""Named lists: files with one entry a line, taken for networks, hosts, strings or whole numbers as rules need them."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from twisted_lb.config.model import ListFile
from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks
from twisted_lb.rules.members import Hosts, Integers, host_entry_fault, read_integers
from twisted_lb.rules.scope import ListKind

T = TypeVar("T")

LARGEST_BYTES = 64 * 1024 * 1024
"""Of a file; a million networks take about 20 MiB."""
MOST_NAMED = 10
"""So many bad lines are named one by one."""

Contains: TypeAlias = Callable[[Any], Any]
Signature: TypeAlias = tuple[int, int, int, int] | None
"""What changes with a file: its device and inode, when it was written, and its size; ``None`` if there is no file."""

_COMMENT = re.compile(r"(?:^|\s)#.*")


def signature_of(path: str) -> Signature:
    """Look which version of a file is there; links are followed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class Loaded(NamedTuple):
    """One version of a file: what looks values up in it, how many entries it has, and which version it is."""

    contains: Contains
    entries: int
    signature: Signature


class _Lines(NamedTuple):
    """The entries of a file, and on which line each stands. Two lists, and no object per line for the collector."""

    entries: list[str]
    numbers: list[int]


def load_list(path: str, kind: ListKind) -> Loaded:
    """Read a file as entries of one kind; may run in a thread, and is made of short steps so that others can go on.

    Raises: ConfigError that names the file, each bad line with its number, up to ``MOST_NAMED`` of them.
    """
    signature = signature_of(path)
    lines = _lines(path)
    bad: list[str] = []
    contains = _READERS[kind](lines, bad)
    if bad:
        more = [f"{path}: and more lines are bad"] if len(bad) > MOST_NAMED else []
        raise ConfigError(*(f"{path}:{one}" for one in bad[:MOST_NAMED]), *more)
    return Loaded(contains, len(lines.entries), signature)


def _lines(path: str) -> _Lines:
    lines = _Lines([], [])
    size = 0
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                size += len(raw)
                if size > LARGEST_BYTES:
                    raise ConfigError(f"{path}: has more than {LARGEST_BYTES // 1024 // 1024} MiB")
                entry = _entry(raw, path, number)
                if entry:
                    lines.entries.append(entry)
                    lines.numbers.append(number)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    return lines


def _entry(raw: bytes, path: str, number: int) -> str:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:{number}: is not UTF-8 text: a byte is 0x{raw[error.start]:02x}") from None
    return (_COMMENT.sub("", line, count=1) if "#" in line else line).strip()


def _each(lines: _Lines, bad: list[str], read: Callable[[str], T]) -> list[T]:
    """Read each entry; ``read`` raises ValueError or ConfigError for a bad one."""
    found: list[T] = []
    for number, entry in zip(lines.numbers, lines.entries, strict=True):
        try:
            found.append(read(entry))
        except (ValueError, ConfigError) as error:
            what = str(error).encode("unicode_escape").decode()
            bad.append(f"{number}: {what[:200]}")
            if len(bad) > MOST_NAMED:
                break
    return found


def _networks(lines: _Lines, bad: list[str]) -> Contains:
    try:
        return Networks.parse(lines.entries).contains
    except ConfigError:
        _each(lines, bad, lambda entry: Networks.parse([entry]))
        return frozenset[str]().__contains__


def _host(entry: str) -> str:
    name = entry.lower().removesuffix(".")
    fault = host_entry_fault(name)
    if fault:
        raise ValueError(f'"{entry}": {fault}')
    return name


_READERS: Mapping[ListKind, Callable[[_Lines, list[str]], Contains]] = {
    "networks": _networks,
    "hosts": lambda lines, bad: Hosts(_each(lines, bad, _host)).contains,
    "integers": lambda lines, bad: Integers(_each(lines, bad, read_integers)).contains,
    "strings": lambda lines, bad: frozenset(_each(lines, bad, str)).__contains__,
    "small": lambda lines, bad: frozenset(_each(lines, bad, str.lower)).__contains__,
}


class ListView:
    """A list as entries of one kind: the version that is in force, see ``Loaded``."""

    __slots__ = ("contains", "kind", "name", "path", "signature")

    def __init__(self, name: str, path: str, kind: ListKind) -> None:
        self.name = name
        self.path = path
        self.kind: ListKind = kind
        self.contains: Contains = frozenset[str]().__contains__
        self.signature: Signature = None

    def put_in_force(self, loaded: Loaded) -> None:
        """From now on rules look values up in that."""
        self.contains = loaded.contains
        self.signature = loaded.signature


class ListFiles:
    """The ``[lists]`` of a configuration. ``before``: those of the one in force; what they have read is shared.

    ``problems``: what is wrong with files that rules use, and with those that none uses but that cannot be read.
    """

    def __init__(self, settings: Mapping[str, ListFile], before: "ListFiles | None" = None) -> None:
        self.problems: list[str] = []
        self.views: dict[tuple[str, ListKind], ListView] = {}
        self._settings = settings
        self._before = {(view.path, view.kind): view for view in before.views.values()} if before else {}

    def names(self) -> list[str]:
        """See ``NamedLists``."""
        return list(self._settings)

    def view(self, name: str, kind: ListKind) -> ListView:
        """See ``NamedLists``."""
        found = self.views.get((name, kind))
        if found is None:
            path = self._settings[name].file
            found = self._before.get((path, kind))
            if found is None:
                found = ListView(name, path, kind)
                try:
                    found.put_in_force(load_list(path, kind))
                except ConfigError as error:
                    self._blame(name, error)
            self.views[name, kind] = found
        return found

    def check_unused(self) -> None:
        """Find files that no rule uses and that cannot be read."""
        used = {name for name, _ in self.views}
        for name, settings in self._settings.items():
            if name not in used and not os.access(settings.file, os.R_OK):
                self._blame(name, ConfigError(f"{settings.file}: cannot be read"))

    def _blame(self, name: str, error: ConfigError) -> None:
        self.problems.extend(f"lists.{name}: {problem}" for problem in error.problems)
