"""Lean stream sockets (TCP, TCP over IPv6, Unix) as Twisted transports.

A stream serves an ordinary ``IProtocol`` until a relay takes its socket over (``detach``). It starts paused. While it
is paused its bytes stay in the kernel, but a reset is told, and so is an end of stream with nothing unread before it.
"""

import errno
import os
import struct
from socket import (
    AF_UNIX,
    IPPROTO_TCP,
    MSG_PEEK,
    SHUT_WR,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SOL_SOCKET,
    TCP_NODELAY,
    SocketType,
)
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.net.poll import (
    ENDED,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    READ_ON,
    READING,
    READING_AND_WRITING,
    Poller,
)

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER's value that makes ``close`` send a RST."""
WRITE_LIMIT = 64 * 1024
"""Bytes unsent beyond which a registered producer is paused; Twisted's own number."""
READ_SIZE = 64 * 1024


class ConnectWaiter(Protocol):
    """Who wants to know how an attempt to connect went."""

    def stream_connected(self, stream: "Stream") -> None:
        """The connection is open; ``stream`` is paused."""

    def stream_failed(self, stream: "Stream", error: OSError) -> None:
        """It did not come about; ``stream`` is closed."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class Stream:
    """One connected (or connecting) non-blocking stream socket.

    ``fd`` is -1 once closed. ``writable_watched``: whether the kernel reports room for writing; it is asked to only
    when a send came up short for the first time.
    """

    __slots__ = (
        "_began_in",
        "_half_close",
        "_lost",
        "_paused",
        "_pending",
        "_producer",
        "_protocol",
        "_read_closed",
        "_streaming",
        "_waiter",
        "_write_closed",
        "_write_closing",
        "_write_failure",
        "disconnecting",
        "fd",
        "poller",
        "reported",
        "sock",
        "writable_watched",
    )

    def __init__(self, poller: Poller, sock: SocketType) -> None:
        self.poller = poller
        self.sock = sock
        self.fd = sock.fileno()
        self.writable_watched = False
        self.reported = 0
        self.disconnecting = False
        self._protocol: Any = None
        self._half_close = False
        self._waiter: ConnectWaiter | None = None
        self._paused = True
        self._pending: bytearray | None = None
        self._producer: Any = None
        self._streaming = False
        self._read_closed = False
        self._write_closed = False
        self._write_closing = False
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
        self._waiter = waiter
        self._began_in = self.poller.batch
        self.writable_watched = True
        code = self.sock.connect_ex(sockaddr)
        if code in (0, errno.EINPROGRESS):
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

    def drop(self, reset: bool = False) -> None:
        """Close at once and tell nobody; ``reset`` sends a RST."""
        self._protocol = None
        self._waiter = None
        self._pending = None
        self._close(reset)

    def _close(self, reset: bool) -> None:
        if self.fd < 0:
            return
        if reset:
            self.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        fd, self.fd = self.fd, -1
        self.poller.close(fd, self.sock)

    # What the kernel reports.

    def on_events(self, events: int) -> None:
        """See ``Watcher``."""
        if self._waiter is not None:
            self._connect_event(events)
            return
        if self._lost is not None:
            self._tell_lost()
            return
        if events & EPOLLOUT and self._pending:
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
        for _ in range(16):
            try:
                data = self.sock.recv(READ_SIZE)
            except BlockingIOError:
                if self._write_failure is not None:
                    self._lose(self._write_failure)
                return
            except OSError as error:
                self._fail(error)
                return
            if not data:
                self._end_of_stream()
                return
            self._protocol.dataReceived(data)
            if self._paused or self._protocol is None or self.fd < 0:
                self.reported |= events
                return
            # Without events this is the turn of what was cut short or paused, and whether an end of stream was
            # reported before that is not known here: read on until there is nothing.
            if len(data) < READ_SIZE and events and not events & READ_ON and self.sock.family != AF_UNIX:
                return
        self.reported |= events
        self.poller.again(self)

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
            self.reported |= EPOLLRDHUP
            self.poller.again(self)

    def _lose(self, reason: Failure) -> None:
        """Close, and tell the protocol from the poller's loop, never from within one of its own calls."""
        if self.fd >= 0:
            self._close(reset=False)
            self._pending = None
            self._lost = reason
            self.poller.again(self)

    def _tell_lost(self) -> None:
        reason, self._lost = self._lost, None
        protocol, self._protocol = self._protocol, None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(reason)

    # ITransport, ITCPTransport

    def write(self, data: bytes) -> None:
        """See ``ITransport``: sent at once as far as the kernel takes it."""
        if self.fd < 0 or self._write_closing or not data or (self.disconnecting and self._producer is None):
            return
        if self._pending:
            self._pending += data
        else:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._write_failed(error)
                return
            if sent == len(data):
                if self._producer is not None and not self._streaming:
                    self.poller.again(self)  # it is asked for more, but not from within its own call
                return
            self._pending = bytearray(memoryview(data)[sent:])
            self._watch_writable()
        if self._producer is not None and self._streaming and len(self._pending) > WRITE_LIMIT:
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """See ``ITransport``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ``ITransport``: what was written is sent first."""
        if self.fd < 0 or self.disconnecting:
            return
        self.disconnecting = True
        if not self._pending and self._producer is None:
            self._lose(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """See ``ITCPTransport``: a RST, whatever is unsent."""
        if self.fd >= 0:
            self._close(reset=True)
            self._pending = None
            self._lost = Failure(ConnectionLost("aborted"))
            self.poller.again(self)

    def loseWriteConnection(self) -> None:
        """See ``ITCPTransport``: a FIN after what was written; reading goes on."""
        if self.fd < 0 or self._write_closing:
            return
        self._write_closing = True
        if not self._pending:
            self._shutdown_write()

    def _shutdown_write(self) -> None:
        try:
            self.sock.shutdown(SHUT_WR)
        except OSError as error:
            self._write_failed(error)
            return
        self._write_closed = True
        if self._half_close and self._protocol is not None:
            self._protocol.writeConnectionLost()
        if self._read_closed and self.fd >= 0:
            self._lose(Failure(ConnectionDone()))

    def _watch_writable(self) -> None:
        if not self.writable_watched:
            self.writable_watched = True
            self.poller.modify(self.fd, READING_AND_WRITING)

    def _flush(self) -> None:
        assert self._pending is not None
        try:
            sent = self.sock.send(self._pending)
        except BlockingIOError:
            return
        except OSError as error:
            self._write_failed(error)
            return
        del self._pending[:sent]
        if self._pending:
            return
        self._pending = None
        if self._write_closing:
            self._shutdown_write()
        elif self._producer is not None:
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._lose(Failure(ConnectionDone()))

    def getPeer(self) -> IAddress:  # type: ignore[override]  # a Unix address too, as Twisted's Unix transports do
        """See ``ITransport``."""
        return _address(self.sock, self.sock.getpeername())

    def getHost(self) -> IAddress:  # type: ignore[override]  # likewise
        """See ``ITransport``."""
        return _address(self.sock, self.sock.getsockname())

    def getTcpNoDelay(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.sock.getsockopt(IPPROTO_TCP, TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.sock.getsockopt(SOL_SOCKET, SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, enabled)

    # IConsumer, IPushProducer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``IConsumer``."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer = producer
        self._streaming = streaming
        if self.fd < 0:
            producer.stopProducing()
        elif not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer = None
        if self.disconnecting and not self._pending:
            self._lose(Failure(ConnectionDone()))

    def pauseProducing(self) -> None:
        """See ``IPushProducer``: from now on the bytes stay in the kernel."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See ``IPushProducer``; what came meanwhile is delivered from the poller's loop."""
        if self._paused and not self.disconnecting:
            self._paused = False
            self.poller.again(self)

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self.loseConnection()


def _address(sock: SocketType, sockaddr: Any) -> IAddress:
    if sock.family == AF_UNIX:
        return UNIXAddress(sockaddr or None)
    if len(sockaddr) == 2:
        return IPv4Address("TCP", *sockaddr)
    return IPv6Address("TCP", *sockaddr)


def start(stream: Stream, protocol: IProtocol) -> None:
    """Connect an ordinary Twisted protocol to a connected stream."""
    stream.attach(protocol, IHalfCloseableProtocol.providedBy(protocol))
    protocol.makeConnection(stream)
    stream.resumeProducing()


__all__ = ["EPOLLIN", "ConnectWaiter", "Stream", "start"]
