"""Transports in memory.

Unlike those of ``twisted.test.iosim`` they do pause, resume and half-close: what the reader does not take stays with
the writer, whose producer is paused beyond ``WRITE_LIMIT`` bytes, as with a real socket.
"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

WRITE_LIMIT = 64 * 1024
READ_SIZE = 64 * 1024


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a connection that exists in memory only; see ``MemoryNetwork``.

    ``room_bytes``: how much the other end may send before this one reads, as a socket's receive buffer.
    ``reading``: whether it may deliver bytes now. ``unsent``: what was written and is not with the other end yet.
    """

    def __init__(self, host: str, room_bytes: int) -> None:
        self.peer: MemoryTransport = self
        self.protocol: Any = None
        self.room_bytes = room_bytes
        self.connected = True
        self.disconnecting = False
        self.reading = True
        self.unsent = bytearray()
        self._host = host
        self._incoming = bytearray()
        self._peer_ended = False
        self._peer_reset = False
        self._told_end = False
        self._finishing = False
        self._finished = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._lost: Failure | None = None

    # What the network does

    def turn(self) -> bool:
        """Do what is due at this end; returns whether anything was."""
        if not self.connected:
            return False
        if self._lost is not None:
            self._tell_lost(self._lost)
            return True
        done = self._send()
        return self._receive() or done

    def _send(self) -> bool:
        peer = self.peer
        if (self.unsent or self._finishing) and (peer._peer_gone or self._peer_reset):
            self._lose(ConnectionLost("there is nobody at the other end"))
            return True
        size = min(len(self.unsent), peer.room_bytes - len(peer._incoming))
        if size > 0:
            peer._incoming += self.unsent[:size]
            del self.unsent[:size]
        if self.unsent:
            return size > 0
        if self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()
            return True
        if self._producer is not None and not self._streaming and size > 0:
            self._producer.resumeProducing()
            return True
        if self.disconnecting and self._producer is None:
            peer._peer_ended = True
            self._lose(ConnectionDone())
            return True
        if self._finishing and not self._finished:
            self._finished = peer._peer_ended = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()
            if self._told_end:
                self._lose(ConnectionDone())
            return True
        return size > 0

    @property
    def _peer_gone(self) -> bool:
        return not self.peer.connected or self.peer._lost is not None

    def _receive(self) -> bool:
        if not self.reading or self.disconnecting or self._lost is not None:
            return False
        if self._incoming:
            data = bytes(self._incoming[:READ_SIZE])
            del self._incoming[:READ_SIZE]
            self.protocol.dataReceived(data)
            return True
        if self._peer_reset:
            self._lose(ConnectionLost("reset by the other end"))
            return True
        if not self._peer_ended or self._told_end:
            return False
        self._told_end = True
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            self._lose(ConnectionDone())
            return True
        self.protocol.readConnectionLost()
        if self._finished and self._lost is None:
            self._lose(ConnectionDone())
        return True

    def _lose(self, reason: Exception) -> None:
        self._lost = self._lost or Failure(reason)
        self.unsent.clear()

    def _tell_lost(self, reason: Failure) -> None:
        self.connected = False
        self.peer._peer_ended = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(reason)

    # ITCPTransport

    def write(self, data: bytes) -> None:
        """See ``ITransport``; nothing is sent before the network's next turn."""
        if not self.connected or self._finishing or self._lost is not None:
            return
        self.unsent += data
        if self._producer is not None and self._streaming and len(self.unsent) > WRITE_LIMIT:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """See ``ITransport``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ``ITransport``."""
        self.disconnecting = True

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""
        if self.connected and self._lost is None:
            self.peer._peer_reset = True
            self._lose(ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """See ``ITCPTransport``."""
        self._finishing = True

    def getPeer(self) -> Any:
        """See ``ITransport``."""
        return IPv4Address("TCP", self.peer._host, 1)

    def getHost(self) -> Any:
        """See ``ITransport``."""
        return IPv4Address("TCP", self._host, 1)

    def getTcpNoDelay(self) -> bool:
        """See ``ITCPTransport``."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""

    def getTcpKeepAlive(self) -> bool:
        """See ``ITCPTransport``."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""

    # IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer = None

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self.reading = False

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        self.reading = not self.disconnecting

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self.loseConnection()


class MemoryNetwork:
    """Connections in memory, which move when told to::

    network = MemoryNetwork()
    client, server = network.connect(ClientProtocol(), ServerProtocol())
    client.write(b"hello")
    network.settle()
    """

    def __init__(self) -> None:
        self.transports: list[MemoryTransport] = []

    def connect(
        self, client: Any, server: Any, room_bytes: int = 256 * 1024
    ) -> tuple[MemoryTransport, MemoryTransport]:
        """Connect two protocols; return the transport of each."""
        ends = MemoryTransport("192.0.2.1", room_bytes), MemoryTransport("192.0.2.2", room_bytes)
        for end, peer, protocol in zip(ends, reversed(ends), (client, server), strict=True):
            end.peer, end.protocol = peer, protocol
            self.transports.append(end)
        for end in ends:
            end.protocol.makeConnection(end)
        return ends

    def turn(self) -> bool:
        """Let each end do what is due; returns whether anything was."""
        return sum(end.turn() for end in self.transports) > 0

    def settle(self, turns: int = 100_000) -> None:
        """Go on until nothing moves any more; fails if that does not come about."""
        for _ in range(turns):
            if not self.turn():
                return
        raise AssertionError(f"still moving after {turns} turns")
