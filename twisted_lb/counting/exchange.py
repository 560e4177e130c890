"""Keeps a table of ours and the store that it is shared through in step.

In the background, every ``refresh``: what was counted here is told, and what all together have is heard. So a decision
costs no time, and knows what the others counted before the last round. With ``mode = "each"`` a decision asks as well.
While the store does not answer, the table is ``alone``; what is counted waits, as far as there is room.
"""

from collections.abc import Generator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_lb.config.uses import TableStore
from twisted_lb.contracts import ITableStore
from twisted_lb.errors import PluginError, shown
from twisted_lb.plugin_host import Built
from twisted_lb.tables.sharing import BATCH, SharedTable, TableBatch, TableEntry, TableReply


class Exchange:
    """One table's exchange with its store. ``machine``: what this process is called among those that share it."""

    _log = Logger(namespace="twisted_lb.tables")

    def __init__(
        self,
        name: str,
        table: SharedTable,
        store: Built[ITableStore],
        settings: TableStore,
        clock: IReactorTime,
        machine: str,
    ) -> None:
        self.name = name
        self.table = table
        self.settings = settings
        self.failures = 0
        """How often in a row the store did not answer; why is logged when it changes."""
        self._store = store
        self._clock = clock
        self._machine = machine
        self._next: IDelayedCall | None = None
        self.running = False
        """Whether it is going on."""
        self._reminded = 0.0
        self._lost = 0
        self._why = ""

    # Life

    def start(self) -> None:
        """Open the store, and begin with the first round."""
        self.running = True
        self._reminded = self._clock.seconds()
        self._call("open")
        self._next = self._clock.callLater(0, self._round)

    def stop(self) -> None:
        """End it; what waits is not told any more, and our connections no longer count for the others in a while."""
        if not self.running:
            return
        self.running = False
        self.table.alone = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._call("close")

    def _call(self, method: str) -> None:
        """Open or close the store; one that cannot even do that is away, and no more than that."""
        try:
            getattr(self._store.object, method)()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._log.error(
                "table {name}: plugin {plugin}: its store raised {error} in {method}",
                name=self.name,
                plugin=self._store.plugin,
                error=shown(error),
                method=method,
            )

    # Decisions

    @property
    def refuses(self) -> bool:
        """Whether nobody is to be let on now, as the store is away."""
        return self.table.alone and self.settings.when_away == "refuse"

    def ask(self, key: bytes) -> "Deferred[Any] | None":
        """Ask about one key, if a decision is to wait for that; fires with ``None`` in any case, before long."""
        if self.settings.mode != "each" or self.table.alone:
            return None
        # Who asks may give up waiting; that is no reason to give up the exchange.
        waiting: Deferred[Any] = Deferred(lambda _: None)
        self._told([self.table.tell(key)]).addBoth(lambda _: None if waiting.called else waiting.callback(None))
        return waiting

    # Rounds

    @inlineCallbacks
    def _round(self) -> Generator["Deferred[Any]", Any, None]:
        self._next = None
        self._remind()
        keys = list(dict.fromkeys([*self.table.waiting(), *self.table.to_ask()]))
        # One batch at least, also an empty one: so it is known that we live, and whether the store does.
        for first in range(0, max(len(keys), 1), BATCH):
            heard = yield self._told([self.table.tell(key) for key in keys[first : first + BATCH]])
            if not (heard and self.running):
                break
        if self.running:
            self._next = self._clock.callLater(self.settings.refresh, self._round)

    def _remind(self) -> None:
        """Tell open connections anew before the store may forget them, and say what nobody was told."""
        now = self._clock.seconds()
        if now - self._reminded > self.table.expire_s / 2:
            self._reminded = now
            self.table.tell_connections()
        lost = self.table.lost - self._lost
        if lost:
            self._lost = self.table.lost
            self._log.warn(
                "table {name}: {lost} counts were not told to the others: too many waited", name=self.name, lost=lost
            )

    @inlineCallbacks
    def _told(self, entries: Sequence[TableEntry]) -> Generator["Deferred[Any]", Any, bool]:
        table = self.table
        events = table.events
        batch = TableBatch(
            self.name,
            self._machine,
            int(table.window_s * 1000),
            int(table.expire_s * 1000),
            int(self.settings.lease * 1000),
            events,
            entries,
        )
        try:
            asked = maybeDeferred(self._store.object.exchange, batch)
            asked.addTimeout(self.settings.timeout, self._clock)
            reply = yield asked
            self._check(reply, batch)
            if self.running:
                table.told(entries, reply)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # else there would be no further round, and nobody would know
            table.untold(entries)
            self._failed(error)
            return False
        if self.running:
            self._answered()
        return True

    def _check(self, reply: Any, batch: TableBatch) -> None:
        width = len(batch.events)
        if not isinstance(reply, TableReply):
            what = shown(reply)
        elif len(reply.entries) == len(batch.entries) and all(
            len(one.totals) == len(one.currents) == len(one.previous) == width for one in reply.entries
        ):
            return
        else:  # without what is in it, which is another each time, and would be told each time
            what = "a TableReply of another size"
        what = f"table store {self._store.name!r} answered {what}, which is no reply to what it was asked"
        raise PluginError(self._store.plugin, what)

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        why, self._why = self._why, shown(error)
        if self._why != why:
            then = "all are refused" if self.settings.when_away == "refuse" else "our own counts decide"
            self._log.error(
                "table {name}: its store does not answer ({error}): {then} until it does",
                name=self.name,
                error=self._why,
                then=then,
            )
        self.table.alone = True

    def _answered(self) -> None:
        if self.failures:
            self._log.info("table {name}: its store answers again", name=self.name)
        self.failures = 0
        self._why = ""
        self.table.alone = False
