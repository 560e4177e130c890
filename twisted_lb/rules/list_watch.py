"""Looks whether the files of lists have changed, and puts new versions in force.

Once a second each file that a rule uses is looked at, not read. A new version is read in a thread once it has looked
the same twice, so that a file that is still being written is left alone, and put in force in one step. One that is bad
leaves the version before in force, and is told once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.errors import ConfigError
from twisted_lb.rules.lists import ListFiles, ListView, Loaded, Signature, load_list, signature_of

EVERY_S = 1.0

RunInThread = Callable[[Callable[[], Loaded]], "Deferred[Loaded]"]


def in_thread_of(reactor: Any) -> RunInThread:
    """Return what runs a function in a thread of the reactor's pool."""
    return lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call)


class ListWatch:
    """Watches the files of one configuration's lists, from ``start`` to ``stop``."""

    _log = Logger(namespace="twisted_lb")

    def __init__(self, lists: ListFiles, clock: IReactorTime, run: RunInThread) -> None:
        self._lists = lists
        self._run = run
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock
        self._seen: dict[ListView, Signature] = {}
        self._refused: dict[ListView, Signature] = {}
        self._reading: set[ListView] = set()

    def start(self) -> None:
        """Read again at once what has changed, and begin to watch; without a list in use, do nothing."""
        if self._lists.views and not self._loop.running:
            self.look(at_once=True)
            self._loop.start(EVERY_S, now=False)

    def stop(self) -> None:
        """Watch no more."""
        if self._loop.running:
            self._loop.stop()

    def look(self, at_once: bool = False) -> None:
        """Look at each file; ``at_once``: do not wait for a second look before a new version is read."""
        for view in self._lists.views.values():
            found = signature_of(view.path)
            same_as_before = view in self._seen and self._seen[view] == found
            self._seen[view] = found
            if found == view.signature:
                self._refused.pop(view, None)
            elif view not in self._reading and (at_once or same_as_before) and self._refused.get(view, 0) != found:
                self._read(view, found)

    def _read(self, view: ListView, found: Signature) -> None:
        self._reading.add(view)
        reading = self._run(partial(load_list, view.path, view.kind))
        reading.addCallbacks(self._put_in_force, self._refuse, callbackArgs=(view,), errbackArgs=(view, found))
        reading.addErrback(lambda failure: self._log.failure("reading a list failed", failure))

    def _put_in_force(self, loaded: Loaded, view: ListView) -> None:
        self._reading.discard(view)
        if signature_of(view.path) != loaded.signature:
            return  # it has changed meanwhile, so this may be a part of it; the looks to come see to the rest
        self._refused.pop(view, None)
        view.put_in_force(loaded)
        self._log.info("list {name}: read anew, {count} entries", name=view.name, count=loaded.entries)

    def _refuse(self, failure: Failure, view: ListView, found: Signature) -> None:
        self._reading.discard(view)
        self._refused[view] = found
        if failure.check(ConfigError) is None:
            self._log.failure("list {name}: reading it failed", failure, name=view.name)
            return
        assert isinstance(failure.value, ConfigError)
        for problem in failure.value.problems:
            self._log.error("list {name}: {problem}", name=view.name, problem=problem)
        self._log.error("list {name}: the version before stays in force", name=view.name)
