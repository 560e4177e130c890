"""Lean stream sockets (TCP, TCP over IPv6, Unix) as Twisted transports.

A stream serves an ordinary ``IProtocol`` until a relay takes its socket over (``detach``). It starts paused. While it
is paused its bytes stay in the kernel, but a reset is told, and so is an end of stream with nothing unread before it.
"""

import contextlib
import errno
import os
from socket import AF_UNIX, MSG_PEEK, SHUT_WR, SO_ERROR, SOL_SOCKET, SocketType
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.net.poll import (
    ENDED,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    READ_ON,
    READING,
    READING_AND_WRITING,
    Poller,
)
from twisted_lb.net.stream_writing import WritingStream

READ_SIZE = 64 * 1024
_UNDER_WAY = (errno.EINPROGRESS, 0)
"""What ``connect_ex`` says when there is something to wait for, or to be told."""


class ConnectWaiter(Protocol):
    """Who wants to know how an attempt to connect went."""

    def stream_connected(self, stream: "Stream") -> None:
        """The connection is open; ``stream`` is paused."""

    def stream_failed(self, stream: "Stream", error: OSError) -> None:
        """It did not come about; ``stream`` is closed."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class Stream(WritingStream):
    """One connected (or connecting) non-blocking stream socket."""

    __slots__ = (
        "_began_in",
        "_half_close",
        "_lost",
        "_paused",
        "_protocol",
        "_read_closed",
        "_waiter",
        "_write_closed",
        "_write_failure",
        "reported",
    )

    def __init__(self, poller: Poller, sock: SocketType) -> None:
        # All of it, also what the classes above declare: three calls in place of one would be felt per connection.
        self.poller = poller
        self.sock = sock
        self.fd = sock.fileno()
        self.writable_watched = False
        self.disconnecting = False
        self._pending = None
        self._producer = None
        self._streaming = False
        self._write_closing = False
        self.reported = 0
        self._protocol: Any = None
        self._half_close = False
        self._waiter: ConnectWaiter | None = None
        self._paused = True
        self._read_closed = False
        self._write_closed = False
        self._write_failure: Failure | None = None
        self._lost: Failure | None = None

    # How it comes to life, and is taken over.

    def attach(self, protocol: Any, half_close: bool) -> None:
        """Tell ``protocol`` what happens from now on; ``half_close``: it is an ``IHalfCloseableProtocol``."""
        self._protocol = protocol
        self._half_close = half_close

    def accepted(self) -> None:
        """Begin to watch a socket that a listener accepted."""
        self.poller.watch(self.fd, self, READING)

    def connect(self, sockaddr: Any, waiter: ConnectWaiter) -> None:
        """Begin to connect; ``waiter`` is told once, never from within this call."""
        self.connecting(self.sock.connect_ex(sockaddr), waiter)

    def connecting(self, code: int, waiter: ConnectWaiter) -> None:
        """As ``connect``, for a socket that has begun to; ``code``: what its ``connect_ex`` said."""
        self._waiter = waiter
        self._began_in = self.poller.batch
        self.writable_watched = True
        if code in _UNDER_WAY:
            self.poller.watch(self.fd, self, READING_AND_WRITING)
        else:
            # Also EAGAIN, which means that a Unix listener's backlog is full: it is never reported later.
            self._lost = Failure(OSError(code, os.strerror(code)))
            self.poller.again(self)

    def detach(self) -> SocketType:
        """Give the socket away: its new owner takes over the watching and the closing; the protocol hears no more."""
        self._protocol = None
        self._waiter = None
        return self.sock

    def regain(self, writable_watched: bool) -> None:
        """Take the socket back from whom it was given to, who has not closed it."""
        self.poller.watchers[self.fd] = self
        self.writable_watched = writable_watched

    def finish(self) -> None:
        """As ``drop``, but with a FIN also if something is unread: without this the kernel sends a RST alone."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(SHUT_WR)
            self.sock.recv(READ_SIZE)
        self.drop()

    def drop(self, reset: bool = False) -> None:
        """Close at once and tell nobody; ``reset`` sends a RST."""
        self._protocol = None
        self._waiter = None
        self._pending = None
        self._close(reset)

    # What the kernel reports.

    def on_events(self, events: int) -> None:
        """See ``Watcher``."""
        if events == EPOLLIN and not self._paused and not self.reported and self._protocol is not None:
            # The usual case, which comes to the same as all that follows; a call less is felt per request.
            sock = self.sock
            try:
                data = sock.recv(READ_SIZE)
            except OSError as error:
                self._unreadable(error)
                return
            if not data:
                self._end_of_stream()
                return
            self._protocol.dataReceived(data)
            if len(data) == READ_SIZE or sock.family == AF_UNIX:
                self._read_more(events)
            return
        if self._waiter is not None:
            self._connect_event(events)
            return
        if self._lost is not None:
            self._tell_lost()
            return
        if events & EPOLLOUT:
            if self._pending:
                self._flush()
        elif not events and self._producer is not None and not self._streaming and not self._pending:
            self._producer.resumeProducing()
        if self.fd < 0 or self._protocol is None:
            return
        if events & EPOLLERR and self._read_closed:
            self._check_error()  # after a FIN, reading does not tell of a reset any more
        elif self._paused:
            self.reported |= events
            if events & ENDED:
                self._ended_while_paused(events)
        else:
            events |= self.reported
            self.reported = 0
            self._read(events)

    def on_crash(self) -> None:
        """See ``Watcher``."""
        self._close(reset=True)
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionLost("a defect ended this connection")))

    def _connect_event(self, events: int) -> None:
        waiter = self._waiter
        assert waiter is not None
        if self._lost is not None:
            error = self._lost.value
            assert isinstance(error, OSError)
            self.drop()
            waiter.stream_failed(self, error)
            return
        if self._began_in == self.poller.batch:
            # An event of whoever had this number before: Twisted closes at once what is given up while it connects.
            return
        if events & (EPOLLERR | EPOLLHUP):
            code = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
            if code:
                self.drop()
                waiter.stream_failed(self, OSError(code, os.strerror(code)))
                return
        elif not events & EPOLLOUT:
            return
        self._waiter = None
        self.reported = events
        waiter.stream_connected(self)

    def _read(self, events: int) -> None:
        sock, turns = self.sock, 16
        while turns:
            try:
                data = sock.recv(READ_SIZE)
            except OSError as error:
                self._unreadable(error)
                return
            if not data:
                self._end_of_stream()
                return
            self._protocol.dataReceived(data)
            # Without events this is the turn of what was cut short or paused, and whether an end of stream was
            # reported before that is not known here: read on until there is nothing.
            if len(data) < READ_SIZE and events and not events & READ_ON and sock.family != AF_UNIX:
                return
            if self._paused or self._protocol is None or self.fd < 0:
                self.reported |= events | EPOLLIN  # not read to the end, which is not reported again
                return
            turns -= 1
        self.reported |= events
        self.poller.whole = False  # what it has said is not all read, and may be read in the next batch only
        self.poller.again(self)

    def _read_more(self, events: int) -> None:
        """Go on reading what ``events`` told of, if that is still wanted."""
        if self._paused or self._protocol is None or self.fd < 0:
            self.reported |= events
        else:
            self._read(events)

    def _unreadable(self, error: OSError) -> None:
        """There is nothing to read, or never will be."""
        if not isinstance(error, BlockingIOError):
            self._fail(error)
        elif self._write_failure is not None:
            self._lose(self._write_failure)

    def _check_error(self) -> bool:
        code = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self._fail(OSError(code, os.strerror(code)))
        return bool(code)

    def _ended_while_paused(self, events: int) -> None:
        if events & EPOLLERR and self._check_error():
            return
        try:
            if self.sock.recv(1, MSG_PEEK):
                return
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        self._end_of_stream()

    def _end_of_stream(self) -> None:
        if self._write_failure is not None:
            self._lose(self._write_failure)
            return
        if self._read_closed:
            return
        self._read_closed = True
        if self._half_close:
            self._protocol.readConnectionLost()
            if self._write_closed and self.fd >= 0:
                self._lose(Failure(ConnectionDone()))
        else:
            self._lose(Failure(ConnectionDone()))

    def _fail(self, error: OSError) -> None:
        self._lose(Failure(ConnectionLost(f"{error.strerror}")))

    def _write_failed(self, error: OSError) -> None:
        """The other end takes no more. What it said before is still delivered, and only then the loss."""
        if self._write_failure is None:
            self._write_failure = Failure(ConnectionLost(f"{error.strerror}"))
            self._write_closing = True
            self._pending = None
            self.reported |= READ_ON
            self.poller.again(self)

    def _lose(self, reason: Failure) -> None:
        """Close, and tell the protocol from the poller's loop, never from within one of its own calls."""
        if self.fd >= 0:
            self._close(reset=False)
            self._pending = None
            self._lost = reason
            self.poller.again(self)

    def _write_ended(self) -> None:
        self._write_closed = True
        if self._half_close and self._protocol is not None:
            self._protocol.writeConnectionLost()
        if self._read_closed and self.fd >= 0:
            self._lose(Failure(ConnectionDone()))

    def _tell_lost(self) -> None:
        reason, self._lost = self._lost, None
        protocol, self._protocol = self._protocol, None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(reason)

    # ITCPTransport; all else of it stands in the two classes above

    def abortConnection(self) -> None:
        """See ``ITCPTransport``: a RST, whatever is unsent."""
        if self.fd >= 0:
            self._close(reset=True)
            self._pending = None
            self._lost = Failure(ConnectionLost("aborted"))
            self.poller.again(self)

    # IPushProducer

    def pauseProducing(self) -> None:
        """See ``IPushProducer``: from now on the bytes stay in the kernel."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See ``IPushProducer``; what came meanwhile is delivered from the poller's loop."""
        if self._paused and not self.disconnecting:
            self._paused = False
            if self.reported & ~EPOLLOUT:
                self.poller.again(self)

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self.loseConnection()


def start(stream: Stream, protocol: IProtocol) -> None:
    """Connect an ordinary Twisted protocol to a connected stream."""
    stream.attach(protocol, IHalfCloseableProtocol.providedBy(protocol))
    protocol.makeConnection(stream)
    stream.resumeProducing()


__all__ = ["EPOLLIN", "ConnectWaiter", "Stream", "start"]
