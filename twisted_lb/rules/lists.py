"""Named lists: files with one entry a line, taken for networks, hosts, strings or whole numbers as rules need them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from twisted_lb.config.model import ListFile
from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks
from twisted_lb.rules.members import Hosts, Integers, host_entry_fault, read_integers
from twisted_lb.rules.scope import ListKind

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


class _Line(NamedTuple):
    number: int
    entry: str


def load_list(path: str, kind: ListKind) -> Loaded:
    """Read a file as entries of one kind; may run in a thread.

    Raises: ConfigError that names the file, each bad line with its number, up to ``MOST_NAMED`` of them.
    """
    signature = signature_of(path)
    lines = list(_lines(path))
    bad: list[str] = []
    contains = _READERS[kind](lines, bad)
    if bad:
        more = [f"{path}: and more lines are bad"] if len(bad) > MOST_NAMED else []
        raise ConfigError(*(f"{path}:{one}" for one in bad[:MOST_NAMED]), *more)
    return Loaded(contains, len(lines), signature)


def _lines(path: str) -> Iterator[_Line]:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > LARGEST_BYTES:
        raise ConfigError(f"{path}: has more than {LARGEST_BYTES // 1024 // 1024} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{at}: is not UTF-8 text: a byte is 0x{data[error.start]:02x}") from None
    for number, line in enumerate(text.split("\n"), 1):
        entry = (_COMMENT.sub("", line, count=1) if "#" in line else line).strip()
        if entry:
            yield _Line(number, entry)


def _said(line: _Line, what: str) -> str:
    return f"{line.number}: {what.encode('unicode_escape').decode()[:200]}"


def _networks(lines: list[_Line], bad: list[str]) -> Contains:
    try:
        return Networks.parse(line.entry for line in lines).contains
    except ConfigError:
        pass  # now line by line
    for line in lines:
        try:
            Networks.parse([line.entry])
        except ConfigError as error:
            bad.append(_said(line, error.problems[0]))
            if len(bad) > MOST_NAMED:
                break
    return frozenset[str]().__contains__


def _hosts(lines: list[_Line], bad: list[str]) -> Contains:
    names: list[str] = []
    for line in lines:
        name = line.entry.lower().removesuffix(".")
        fault = host_entry_fault(name)
        if fault:
            bad.append(_said(line, f'"{line.entry}": {fault}'))
            if len(bad) > MOST_NAMED:
                break
        names.append(name)
    return Hosts(names).contains


def _integers(lines: list[_Line], bad: list[str]) -> Contains:
    ranges: list[range] = []
    for line in lines:
        try:
            ranges.append(read_integers(line.entry))
        except ValueError as error:
            bad.append(_said(line, str(error)))
            if len(bad) > MOST_NAMED:
                break
    return Integers(ranges).contains


_READERS: Mapping[ListKind, Callable[[list[_Line], list[str]], Contains]] = {
    "networks": _networks,
    "hosts": _hosts,
    "integers": _integers,
    "strings": lambda lines, bad: frozenset(line.entry for line in lines).__contains__,
    "small": lambda lines, bad: frozenset(line.entry.lower() for line in lines).__contains__,
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
