"""Sessions whose client came through a Twisted endpoint: they may have to wait for room after they were accepted."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from twisted_lb.endings import Stage
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.frontend import Frontend
from twisted_lb.http_session import HttpSession
from twisted_lb.net.credentials import transport_credentials
from twisted_lb.process import Process
from twisted_lb.session import Session
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.tcp_session import TcpSession


class EndpointSession(Session):
    """What such sessions have in common, whatever the mode.

    ``arrived(session)``: called with the client's transport paused, to ``start`` it now or when there is room.
    """

    __slots__ = ()
    _arrived: "Callable[[EndpointSession], None]"

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        facts: Facts,
        arrived: "Callable[[EndpointSession], None]",
        reception: Reception | None = None,
    ) -> None:
        super().__init__(process, frontend, limits, None, facts, reception)
        self._arrived = arrived

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``."""
        super().makeConnection(transport)
        self.facts.destination = SocketAddress.from_address(transport.getHost())
        self.facts.secure = ISSLTransport.providedBy(transport)
        self.facts.credentials = transport_credentials(transport)
        self._arrived(self)

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        if self.stage is not Stage.ACCEPT or self._peeked:
            super().readConnectionLost()
        elif self.client is not None:
            client, self.client = self.client, None  # it left while it waited for room
            client.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if self.stage is Stage.ACCEPT:
            self.client = None  # likewise
        else:
            super().connectionLost(reason)


class EndpointTcpSession(EndpointSession, TcpSession):
    """In TCP mode."""

    __slots__ = ("_arrived",)


class EndpointHttpSession(EndpointSession, HttpSession):
    """In HTTP mode."""

    __slots__ = ("_arrived",)


def endpoint_session_class(frontend: Frontend) -> type[EndpointSession]:
    """Tell which kind of session serves the clients of ``frontend``."""
    return EndpointTcpSession if frontend.http is None else EndpointHttpSession
