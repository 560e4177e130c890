"""A table as the configuration names it: its counters, its key, and with whom it is shared."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from twisted_lb.config import model
from twisted_lb.counting.exchange import Exchange
from twisted_lb.declared import Fact, FactType
from twisted_lb.endings import Stage
from twisted_lb.facts import Facts
from twisted_lb.tables.counters import COUNTERS, Counter, Event
from twisted_lb.tables.keys import Key
from twisted_lb.tables.table import Table

PREFIX = "tables."
"""What the name of a table stands behind in an expression."""


@dataclass(slots=True, eq=False)
class NamedTable:
    """``[tables.NAME]``, or the table that a ``limit`` has for itself.

    ``bounds``: its size, and its ``expire`` and ``window`` in seconds. ``settings``: as configured, ``None`` for that
    of a limit. ``exchange``: with the other machines that share it, ``None`` in a table of ours alone. ``wanted``: the
    counters that rules use.
    """

    name: str
    key: Key
    table: Table
    bounds: tuple[int, float, float]
    settings: model.Table | None = None
    exchange: Exchange | None = None
    wanted: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """From now on these bounds hold, and what is wanted is kept."""
        self.table.resize(*self.bounds)
        self.table.keep(self.wanted)

    def facts(self, mode: str, known_from: Stage) -> Mapping[str, Fact]:
        """Return its counters as facts of connections of that mode, by the name in an expression.

        ``known_from``: the stage from which on the key's fact is known. What changes with each request is known when
        there is one, so that it is asked for anew each time.
        """
        return {
            f"{PREFIX}{self.name}.{name}": Fact(
                FactType.INTEGER,
                f"{counter.about}, of the key in table {self.name}",
                stage_of(counter, mode, known_from),
                get=self._reader(counter),
                least=0,
            )
            for name, counter in COUNTERS.items()
        }

    def _reader(self, counter: Counter) -> Callable[[Facts], int | None]:
        of, value = self.key.of, self.table.value

        def read(facts: Facts) -> int | None:
            key = of(facts)
            return None if key is None else value(key, counter)

        return read

    def want(self, counters: Iterable[str]) -> None:
        """Note that rules use these counters."""
        self.wanted.update(counters)


def stage_of(counter: Counter, mode: str, known_from: Stage) -> Stage:
    """Return from when on a counter is of use to rules of that mode; ``known_from``: from when on its key is known."""
    of_connection = counter.event is Event.CONNECTION
    return known_from if of_connection or mode != "http" else max(known_from, Stage.POLICY)


def counters_in(names: Iterable[str]) -> Mapping[str, set[str]]:
    """Return which counters of which tables are among the names of facts."""
    found: dict[str, set[str]] = {}
    for name in names:
        if name.startswith(PREFIX):
            table, _, counter = name.removeprefix(PREFIX).rpartition(".")
            found.setdefault(table, set()).add(counter)
    return found
