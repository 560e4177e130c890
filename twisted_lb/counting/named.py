"""A table as the configuration names it: its counters, its key, and with whom it is shared."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

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

    ``exchange``: with the other machines that share it, ``None`` in a table of ours alone. ``wanted``: the counters
    that rules use; they are kept from ``begin`` on.
    """

    name: str
    key: Key
    table: Table
    exchange: Exchange | None = None
    wanted: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Keep what is wanted."""
        self.table.keep(self.wanted)

    def facts(self, mode: str) -> Mapping[str, Fact]:
        """Return its counters as facts of connections of that mode, by the name in an expression.

        What changes with each request is known when there is one, so that it is asked for anew each time.
        """
        return {
            f"{PREFIX}{self.name}.{name}": Fact(
                FactType.INTEGER,
                f"{counter.about}, of the key in table {self.name}",
                self.stage(counter, mode),
                get=self._reader(counter),
                least=0,
            )
            for name, counter in COUNTERS.items()
        }

    def stage(self, counter: Counter, mode: str) -> Stage:
        """Return from when on a counter is of use to rules."""
        of_connection = counter.event is Event.CONNECTION
        return self.key.stage if of_connection or mode != "http" else max(self.key.stage, Stage.POLICY)

    def _reader(self, counter: Counter) -> Callable[[Facts], int | None]:
        of, value = self.key.of, self.table.value

        def read(facts: Facts) -> int | None:
            key = of(facts)
            return None if key is None else value(key, counter)

        return read

    def want(self, counters: Iterable[str]) -> None:
        """Note that rules use these counters."""
        self.wanted.update(counters)


def counters_in(names: Iterable[str]) -> Mapping[str, set[str]]:
    """Return which counters of which tables are among the names of facts."""
    found: dict[str, set[str]] = {}
    for name in names:
        if name.startswith(PREFIX):
            table, _, counter = name.removeprefix(PREFIX).rpartition(".")
            found.setdefault(table, set()).add(counter)
    return found
