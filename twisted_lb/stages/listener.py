"""The accept room: takes connections from the kernel, in batches, while there is room.

Stage: accept.
In: a listening socket, or a Twisted server endpoint.
Out: one call of ``accept`` per connection, with a paused transport.
Never: refuses, or takes a connection that does not fit below a limit.
Source: performance.md in docs/explanation, "accept in batches"; accept(2).
"""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_lb.net.listening import Place, sharing
from twisted_lb.net.poll import EPOLLIN, Poller
from twisted_lb.net.stream import Stream
from twisted_lb.stages.admission import Limit

ACCEPT_BATCH = 64
"""Most connections taken at once, so that a storm of them leaves turns to those that exist."""
RETRY_S = 0.1
"""How long a listener that cannot accept, for lack of descriptors or otherwise, waits before it tries again."""
LOG_AGAIN_S = 60.0
"""At most so often a listener says that it cannot."""
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_OF_THE_CLIENT = {
    errno.EINTR,
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    getattr(errno, "ENONET", errno.ENETDOWN),  # Linux alone has it
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
"""Concern one connection that waited in the backlog, not the listener: accept(2), "Error handling"."""
_LEVEL_TRIGGERED = EPOLLIN

Accept = Callable[[Stream, Any], None]
"""Takes a paused stream and the client's socket address as ``accept`` gave it."""


class StreamListener:
    """One listening socket on the poller.

    ``accept`` may be replaced while it runs: a reload keeps the socket and gives it a new frontend.
    ``limits``: those of the process, the frontend and the bind, likewise. ``made_with``: what the socket's settings
    were; another one of the same settings may share it. ``places``: where it listens for TCP.
    """

    _log = Logger()

    def __init__(
        self, poller: Poller, clock: IReactorTime, sock: socket.SocketType, name: str, limits: Sequence[Limit]
    ) -> None:
        self.accept: Accept | None = None
        self.limits = limits
        self.name = name
        self._poller = poller
        self._clock = clock
        self._sock = sock
        self._fd = sock.fileno()
        self.family = sock.family
        self._paused = True
        self._watched = False
        self._woken_by: Limit | None = None
        self._retry: IDelayedCall | None = None
        self._complained_at: float | None = None
        self.made_with: Any = None
        self.places: list[Place] = []

    def listen_instead_of(self, other: "StreamListener", backlog: int) -> None:
        """Listen at the address that both are bound to. ``other``, which is about to stop, takes all who wait there.

        Raises: OSError.
        """
        with sharing(self._sock, other._sock):
            self._sock.listen(backlog)
        for _ in range(backlog // ACCEPT_BATCH + 1):
            other._take()

    def start(self, backlog: int | None = None) -> None:
        """Begin to accept; when it does already, go on with another length of the backlog."""
        if self._watched:
            if backlog is not None:
                self._sock.listen(backlog)
            return
        self._poller.watch(self._fd, self, 0)
        self._watched = True
        self.resume()

    def on_events(self, events: int) -> None:
        """See ``Watcher``."""
        self._take()
        if not events:
            self._pass_on()

    def _take(self) -> None:
        if self._paused or self.accept is None or self._fd < 0:
            return
        room = ACCEPT_BATCH
        for limit in self.limits:
            room = limit.room(room)
        take, poller, family, accept = self._sock._accept, self._poller, self.family, self.accept  # type: ignore[attr-defined]
        make, kind = socket.SocketType, socket.SOCK_STREAM
        for _ in range(room):
            try:
                fd, peer = take()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OF_THE_CLIENT:
                    continue
                self._complain_and_pause(error)
                return
            sock = make(family, kind, 0, fd)
            sock.setblocking(False)
            accept(Stream(poller, sock), peer)
        if room < ACCEPT_BATCH:
            self._wait_for_room()

    def on_crash(self) -> None:
        """See ``Watcher``; a defect in one session's start does not close the listener."""
        self._pass_on()

    def _pass_on(self) -> None:
        """Others may wait for the room that is left."""
        limit, self._woken_by = self._woken_by, None
        if limit is not None:
            limit.wake_next()

    def _wait_for_room(self) -> None:
        for limit in self.limits:
            if limit.room(1) < 1:
                self._pause()
                limit.wait(self)
                return

    def _complain_and_pause(self, error: OSError) -> None:
        now = self._clock.seconds()
        if self._complained_at is None or now - self._complained_at > LOG_AGAIN_S:
            self._complained_at = now
            advice = " (raise the descriptor limit or lower process.maxconn)"
            self._log.warn(
                "{name} pauses accepting now and then: {reason}; clients wait in the backlog{advice}",
                name=self.name,
                reason=error.strerror,
                advice=advice if error.errno in _OUT_OF_RESOURCES else "",
            )
        self._pause()
        self._retry = self._clock.callLater(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        try:
            spare = socket.SocketType(self.family, socket.SOCK_STREAM)
        except OSError:
            self._retry = self._clock.callLater(RETRY_S, self._try_again)
            return
        spare.close()
        self.resume()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._poller.modify(self._fd, 0)

    def resume(self, by: Limit | None = None) -> bool:
        """Accept again; see ``Pausable``."""
        if not self._paused or not self._watched or self._fd < 0 or self._retry is not None:
            return False
        self._paused = False
        self._poller.modify(self._fd, _LEVEL_TRIGGERED)
        if by is not None:
            self._woken_by = by
            self._poller.again(self)  # no event would tell that nobody waits in the backlog
        return True

    def stop(self) -> None:
        """Close the socket; what waits in its backlog and was never accepted is refused by the kernel."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            if self._watched:
                # By hand: closing alone does not end it while an inherited descriptor refers to the same socket.
                self._poller.epoll.unregister(fd)
            self._poller.close(fd, self._sock)

    @property
    def sock(self) -> socket.SocketType:
        """The listening socket; it stays this object's."""
        return self._sock

    def getsockname(self) -> Any:
        """The socket address that it is bound to."""
        return self._sock.getsockname()
