"""One connection's walk through the stages, in the order that ``walk`` knows.

Whatever a stage has to wait for calls ``advance`` when it is there. What TCP mode does with the stages that depend on
the protocol stands in ``tcp_session``; what a session has, and how it ends, in ``session_endings``.
"""

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.endings import Cause, Stage
from twisted_lb.session_upstream import SessionUpstream
from twisted_lb.stages.validator import PEEK_LIMIT
from twisted_lb.walk import PASSED, Event


@implementer(IHalfCloseableProtocol)
class Session(SessionUpstream):
    """The protocol of one client's transport, from accept to the access log, but for what depends on the mode."""

    __slots__ = ()

    def start(self) -> None:
        """Begin the walk; the client's transport is paused."""
        for limit in self._limits:
            limit.count += 1
        self.process.sessions.add(self)
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.session_opened, self.facts)
        self.advance(PASSED)

    def _enter_validation(self) -> Event | None:
        raise NotImplementedError

    def _enter_relay(self) -> Event | None:
        raise NotImplementedError

    # The client's transport

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``. Begins nothing: whoever accepted the connection calls ``start``."""
        transport.pauseProducing()
        self.client = transport

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        self._peeked += data
        if self._reading_header():
            self._look_for_header()
        elif self.stage is Stage.TARPIT and len(self._peeked) > PEEK_LIMIT:
            self.client.pauseProducing()  # nobody wants it

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        self._client_left("left")

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``; it was we who closed that half."""

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        self._client_left(reason.getErrorMessage())

    def _client_left(self, reason: str) -> None:
        self._end(Cause.CLIENT, reason)
