"""In which tables one connection is counted; ``facts.tracking`` of a connection that a rule has tracked.

A connection is counted for one key in each table: that for which it was tracked last. What is tracked before there is a
request is tracked for all its requests; what is tracked for a request is counted in that request. Sessions say when a
request begins and ends, and when the connection ends; then every count of current connections is given back.
"""

from twisted_lb.endings import Ending
from twisted_lb.facts import Facts
from twisted_lb.tables.counters import Event
from twisted_lb.tables.table import Table

# Looking a member up on its Enum is a call of a Python function on 3.11.
_REQUEST, _ERROR, _BYTES_IN, _BYTES_OUT = Event.REQUEST, Event.ERROR, Event.BYTES_IN, Event.BYTES_OUT


class _Tracked:
    __slots__ = ("always", "counts", "held", "key")

    def __init__(self, key: bytes, held: bool, always: bool) -> None:
        self.key = key
        self.held = held
        self.always = always
        """Whether it is tracked for the whole connection, and not for single requests."""
        self.counts = True
        """Whether what happens now is counted."""


class Tracking:
    """The tables of one connection, each with the key that it is counted for."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[Table, _Tracked] = {}

    def track(self, table: Table, key: bytes, request: bool) -> bool:
        """Count this connection, or the current ``request`` of it, in ``table`` from here on.

        Returns: whether there is a place for the key in the table.
        """
        one = self._tables.get(table)
        if one is not None and one.key == key:
            if not one.counts:
                one.counts = True
                table.count(key, _REQUEST)
            return True
        held = table.connect(key)
        if held is None:
            return False
        if one is not None and one.held:
            table.release(one.key)
        self._tables[table] = _Tracked(key, held, not request)
        if request:
            table.count(key, _REQUEST)
        return True

    def request_begun(self) -> None:
        """A request's head is here."""
        for table, one in self._tables.items():
            if one.always:
                table.count(one.key, _REQUEST)

    def request_over(self, ending: Ending, status: int, bytes_in: int, bytes_out: int) -> None:
        """A request ended, or a connection that brought none; ``status``: what it was answered, 0 for nothing."""
        error = 400 <= status < 500 or ending.refused
        for table, one in self._tables.items():
            if one.counts:
                self._add(table, one.key, bytes_in, bytes_out, error)
                one.counts = one.always

    def ended(self, ending: Ending, bytes_in: int, bytes_out: int) -> None:
        """A connection without requests has ended; called once, and nothing is after that."""
        self.request_over(ending, 0, bytes_in, bytes_out)
        self.connection_over()

    def connection_over(self) -> None:
        """The connection has ended; called once, and nothing is after that."""
        tables, self._tables = self._tables, {}
        for table, one in tables.items():
            if one.held:
                table.release(one.key)

    def _add(self, table: Table, key: bytes, bytes_in: int, bytes_out: int, error: bool) -> None:
        if bytes_in:
            table.count(key, _BYTES_IN, bytes_in)
        if bytes_out:
            table.count(key, _BYTES_OUT, bytes_out)
        if error:
            table.count(key, _ERROR)


def track(facts: Facts, table: Table, key: bytes) -> bool:
    """Count the connection of ``facts``, or its current request, in ``table`` from here on; see ``Tracking.track``."""
    tracking = facts.tracking
    if tracking is None:
        tracking = facts.tracking = Tracking()
    found: bool = tracking.track(table, key, facts.http is not None)
    return found
