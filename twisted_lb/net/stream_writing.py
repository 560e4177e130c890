"""What a stream does with what it is given to send: now, or when there is room; and who produces it."""

from socket import SHUT_WR
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProducer
from twisted.python.failure import Failure

from twisted_lb.net.stream_socket import StreamSocket

WRITE_LIMIT = 64 * 1024
"""Bytes unsent beyond which a registered producer is paused; Twisted's own number."""


class WritingStream(StreamSocket):
    """The writing half of a ``Stream``: ``IConsumer``, and ``ITransport`` as far as it is about writing."""

    __slots__ = ("_pending", "_producer", "_streaming", "_write_closing", "disconnecting")
    disconnecting: bool
    _pending: bytearray | None
    _producer: Any
    _streaming: bool
    _write_closing: bool

    # What the other half has to know, and does.

    def on_events(self, events: int) -> None:
        """See ``Watcher``."""
        raise NotImplementedError

    def on_crash(self) -> None:
        """See ``Watcher``."""
        raise NotImplementedError

    def _lose(self, reason: Failure) -> None:
        """All is said: the connection is to be closed."""
        raise NotImplementedError

    def _write_ended(self) -> None:
        """A FIN has been sent."""
        raise NotImplementedError

    def _write_failed(self, error: OSError) -> None:
        """The other end takes no more."""
        raise NotImplementedError

    @property
    def unsent(self) -> bool:
        """Whether something waits for the kernel to take it."""
        return bool(self._pending)

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait for the kernel to take them."""
        return len(self._pending) if self._pending else 0

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
        self._write_ended()

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

    # IConsumer

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
