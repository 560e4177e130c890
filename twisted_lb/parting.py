"""How a client whose connection is refused is parted from, before the relay or in the middle of it; in TCP mode.

With a FIN, a RST, or nothing at all; and with last words, which it is given the time to read.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.endings import Cause
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.silence import silence
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.lingering import LOOK_S, MOST_S, Lingering
from twisted_lb.stages.relay_transports import can_half_close
from twisted_lb.verdicts import Deny

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed

PATIENCE_S = 5.0
"""How long a client may take nothing of its farewell; a few retransmissions."""


def part(client: Any, verdict: Deny, heard: bool) -> bool:
    """Close the client's connection as ``verdict`` wants it; ``heard``: it has said something.

    Returns: whether it has to be told its farewell first, and so is still open.
    """
    over_tls = ISSLTransport.providedBy(client)
    # Before the handshake nothing can be told over TLS, and who is silent may never have one.
    if verdict.how == "reset" or verdict.how == "drop" or (over_tls and not heard):
        if verdict.how == "drop":
            silence(client)
        if type(client) is Stream:
            client.drop(reset=True)
        else:
            hang_up(client)
        return False
    if verdict.farewell or over_tls:
        return True  # over TLS the end is itself a farewell, which waits for its answer
    if type(client) is Stream:
        client.finish()
    else:
        client.loseConnection()
    return False


@implementer(IHalfCloseableProtocol)
class Farewell:
    """A client that has been told its last words; it keeps its place below ``limits`` until it is gone.

    Closed at once, its connection could be reset because of what it still sends, and the words be lost.
    """

    __slots__ = ("_client", "_leaving", "_limits", "_process", "_until", "timer_slot")

    def __init__(self, process: Process, limits: tuple[Limit, ...], client: Any) -> None:
        self.timer_slot: set[Timed] | None = None
        self._client = client
        self._limits = limits
        self._process = process
        self._leaving: Lingering | None = None
        process.sessions.add(self)

    def say(self, farewell: bytes) -> None:
        """Tell it, and wait until it has left, or has had the time to."""
        client, process = self._client, self._process
        if type(client) is Stream:
            client.attach(self, half_close=True)
        if farewell:
            client.write(farewell)
        now = process.clock.seconds()
        self._leaving = Lingering(client, now, PATIENCE_S)
        self._until = now + MOST_S
        process.wheel.arm(self, LOOK_S, now)
        if can_half_close(client):
            client.loseWriteConnection()
            client.resumeProducing()
        else:
            client.loseConnection()
            client.pauseProducing()  # Twisted's TLS keeps what comes from now on, all of it

    # The client's transport; one that is no stream of ours tells the session, which passes it on

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``; the connection has been there for long."""

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``: nobody wants it."""
        if self._leaving is not None:
            self._leaving.heard()

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``: it has nothing more to say, and has been told everything."""
        if self._client is not None:
            self._client.loseConnection()

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See ``IProtocol``."""
        if self._client is not None:
            self._client = None
            self._process.wheel.disarm(self)
            for limit in self._limits:
                limit.give_back()
            self._process.session_ended(self)

    # Its time

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        assert self._leaving is not None
        delay_s = self._leaving.again_in(now)
        if delay_s is None or now >= self._until:
            self.kill("it has had its time")
        else:
            self._process.wheel.arm(self, delay_s, now)

    def wind_down(self) -> None:
        """See ``Mortal``: it is about to end anyway."""

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """See ``Mortal``; its record has been written."""
        client = self._client
        if type(client) is Stream:
            client.drop(reset=True)
        elif client is not None:
            hang_up(client)
        self.connectionLost()
