"""One epoll over all streams and listeners of ours, edge-triggered.

A descriptor's *watcher* is told of its events. Sockets that are closed while a batch of events is being worked off are
really closed after the batch: else their number could be taken by the next accept, and a stale event of the same batch
would hit the newcomer. What was cut short for fairness asks to be called ``again`` and has its turn after the events.
"""

import select
from collections.abc import Callable, Sequence
from socket import SocketType
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

EPOLLIN = 0x001
EPOLLPRI = 0x002
EPOLLOUT = 0x004
EPOLLERR = 0x008
EPOLLHUP = 0x010
EPOLLRDHUP = 0x2000
EPOLLET = 1 << 31

READING = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET
READING_AND_WRITING = READING | EPOLLOUT
READ_ON = EPOLLRDHUP | EPOLLPRI
"""With these a read that was short does not mean that nothing is left: it stopped at an end of stream, or at urgent
data, and what is behind is not reported again."""
LOOK = EPOLLIN | READ_ON
"""In place of events that are not known any more: read until there is nothing."""
UNSURE = EPOLLPRI | EPOLLERR | EPOLLHUP
"""Without these, but with EPOLLRDHUP, a read that was short stopped at the end of the stream."""
ENDED = EPOLLERR | EPOLLHUP | EPOLLRDHUP
BATCH = 512
"""Most events taken from the kernel at once."""

WINDOWS = (64 * 1024, 256 * 1024, 1024 * 1024)
"""Sizes in bytes that one read may have. The larger, the fewer system calls; the smaller, the less is set aside when
the other side does not take it. Measured in docs/explanation/performance.md."""

ASIDE_BUDGET = 64 * 1024 * 1024
"""Bytes that may be set aside in all before every read goes back to the smallest window, so that many readers that
stall together cost little each."""


class Watcher(Protocol):
    """Whoever owns a descriptor."""

    def on_events(self, events: int) -> None:
        """The kernel reports ``events``, a mask of EPOLL flags; 0 after having asked for ``again``."""

    def on_crash(self) -> None:
        """``on_events`` raised, which is a defect: close what belongs to it. The failure is logged already."""


class Poller:
    """The epoll, the watchers, and the work that waits for the end of a batch.

    ``now``: the clock's seconds when the current batch began. ``batch``: how many there have been. ``whole``: a batch
    is being worked off, and all that had come when it began is told and read within it; what is told later came later.
    ``windows``: memory shared by all reads of one process.
    ``watchers``: who owns which descriptor. ``aside``: bytes that were read and not taken by the other side yet.
    ``wake``: called when there is something to do between batches, by whoever would not look otherwise.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, epoll: "select.epoll | None" = None) -> None:
        self.epoll = select.epoll() if epoll is None else epoll
        self.now: float = clock.seconds()
        self.batch = 0
        self.whole = False
        memory = memoryview(bytearray(WINDOWS[-1]))
        self.windows = tuple(memory[:size] for size in WINDOWS)
        self.aside = 0
        self.ready: dict[Watcher, None] = {}
        self.wake: Callable[[], None] | None = None
        self._seconds = clock.seconds
        self.watchers: dict[int, Watcher] = {}
        self._closing: list[SocketType] = []
        self._after_batch: list[Callable[[], None]] = []
        self._in_batch = False
        self._interrupt: KeyboardInterrupt | None = None

    def watch(self, fd: int, watcher: Watcher, events: int) -> None:
        """Register the descriptor ``fd``; ``events`` as epoll_ctl takes them."""
        self.epoll.register(fd, events)
        self.watchers[fd] = watcher

    def modify(self, fd: int, events: int) -> None:
        """Change what is reported for ``fd``; what is ready at this moment is reported again."""
        self.epoll.modify(fd, events)

    def again(self, watcher: Watcher) -> None:
        """Call ``watcher.on_events(0)`` once after the events of this batch (or of the next one)."""
        # A dict: who asks again at each event, its turn still to come, must not have one turn more in each batch.
        self.ready[watcher] = None
        if self.wake is not None and not self._in_batch:
            self.wake()

    def after_batch(self, call: Callable[[], None]) -> None:
        """Call ``call`` once at the end of this batch of events; at once between batches."""
        if self._in_batch:
            self._after_batch.append(call)
        else:
            call()

    def close(self, fd: int, sock: SocketType) -> None:
        """Forget ``fd`` and close its socket: at the end of the batch, or at once between batches."""
        self.watchers.pop(fd, None)
        if self._in_batch:
            self._closing.append(sock)
        else:
            sock.close()

    def __len__(self) -> int:
        """How many descriptors are watched."""
        return len(self.watchers)

    def dispatch(self, events: Sequence[tuple[int, int]], foreign: Callable[[int, int], None] | None = None) -> None:
        """Work off one batch. ``foreign(fd, events)`` gets what has no watcher here."""
        self.now = self._seconds()
        self.batch += 1
        self._in_batch = True
        self.whole = len(events) < BATCH
        watcher_of = self.watchers.get
        try:
            for fd, event in events:
                watcher = watcher_of(fd)
                if watcher is not None:
                    try:
                        watcher.on_events(event)
                    except BaseException as error:
                        # Whatever it is, the others of this batch would never hear of their events again.
                        self._crashed(watcher, error)
                elif foreign is not None:
                    foreign(fd, event)
            if self.ready:
                self._run_ready()
            if self._after_batch:
                self._run_after_batch()
        finally:
            self._in_batch = self.whole = False
            if self._closing:
                for sock in self._closing:
                    sock.close()
                self._closing.clear()
            interrupt, self._interrupt = self._interrupt, None
            if interrupt is not None:
                raise interrupt

    def _run_ready(self) -> None:
        ready, self.ready = self.ready, {}
        for watcher in ready:
            try:
                watcher.on_events(0)
            except BaseException as error:
                self._crashed(watcher, error)

    def _run_after_batch(self) -> None:
        calls, self._after_batch = self._after_batch, []
        for call in calls:
            try:
                call()
            except Exception:
                self._log.failure("a call at the end of a batch failed")

    def _crashed(self, watcher: Watcher, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._interrupt = error
        self._log.failure("a defect in {watcher}", watcher=type(watcher).__name__)
        try:
            watcher.on_crash()
        except Exception:
            self._log.failure("closing it failed too")
