"""The transport of a connection whose addresses came in a PROXY header."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITransport
from zope.interface import Interface, alsoProvides, implementer, providedBy

from twisted_lb.endpoints.passing import PassingProtocol
from twisted_lb.facts import SocketAddress
from twisted_lb.net.hang_up import hang_up
from twisted_lb.wire.proxy_header import ProxyHeader


class IProxiedTransport(Interface):
    """Provided by the transports of ``ProxyProtocolServerEndpoint``, beside all that the real transport provides.

    Layers of Twisted that wrap a transport, such as TLS, pass it on: ask for it with ``IProxiedTransport(transport)``.
    """

    def getProxyHeader() -> Any:
        """Return the ``ProxyHeader`` that came; ``None`` if this client was served without one."""

    def getRealPeer() -> Any:
        """Return the ``IAddress`` of who is really connected: the sender of the header."""

    def getRealHost() -> Any:
        """Return the ``IAddress`` that the connection was really accepted at."""


def address_of(claimed: SocketAddress, datagram: bool = False) -> IAddress:
    """Turn an address of a header into Twisted's form of it."""
    if claimed.host.startswith("unix:"):
        name = claimed.host.removeprefix("unix:")
        return UNIXAddress(("\0" + name[1:] if name.startswith("@") else name).encode("utf-8", "surrogateescape"))
    form = IPv6Address if ":" in claimed.host else IPv4Address
    return form("UDP" if datagram else "TCP", claimed.host, claimed.port)


@implementer(IProxiedTransport, ITransport)
class ProxiedTransport:
    """``real``, but for its addresses; every other attribute is the real transport's.

    ``wrapper``: the protocol of the real transport. ``early``: bytes that came glued to the header. ``begin`` delivers
    them, or, if the protocol pauses before that, its ``resumeProducing``: they cannot wait in the kernel any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wrapper: PassingProtocol,
        header: ProxyHeader | None = None,
        early: bytes = b"",
    ) -> None:
        real: Any = wrapper.transport
        self._clock = clock
        self._wrapper = wrapper
        self._real = real
        self._header = header
        self._early = early
        self._paused = False
        self._leaving = False
        self._resuming: IDelayedCall | None = None
        self._real_peer: IAddress = real.getPeer()
        self._real_host: IAddress = real.getHost()
        self._peer: IAddress = self._real_peer
        self._host: IAddress = self._real_host
        if header is not None and header.source is not None and header.destination is not None:
            self._peer = address_of(header.source, header.datagram)
            self._host = address_of(header.destination, header.datagram)
        alsoProvides(self, providedBy(real))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def protocol(self) -> Any:
        """The protocol that is served; to set another one hands the connection over, as with Twisted's transports."""
        return self._wrapper.wrapped

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._wrapper.adopt(protocol)

    # Addresses

    def getPeer(self) -> IAddress:
        """Return the client's address as the header has it; see ``ITransport``."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return the address that the client connected to, as the header has it; see ``ITransport``."""
        return self._host

    def getProxyHeader(self) -> ProxyHeader | None:
        """See ``IProxiedTransport``."""
        return self._header

    def getRealPeer(self) -> IAddress:
        """See ``IProxiedTransport``."""
        return self._real_peer

    def getRealHost(self) -> IAddress:
        """See ``IProxiedTransport``."""
        return self._real_host

    # ITransport

    def write(self, data: bytes) -> None:
        """See ``ITransport``."""
        self._real.write(data)

    def writeSequence(self, data: Any) -> None:
        """See ``ITransport``."""
        self._real.writeSequence(data)

    def loseConnection(self, *args: Any) -> None:
        """See ``ITransport``; nothing is delivered any more."""
        self._leaving = True
        self._real.loseConnection(*args)

    def abortConnection(self) -> None:
        """See ``IAbortingTransport``; a transport that has no such method is closed."""
        self._leaving = True
        hang_up(self._real)

    # IPushProducer

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self._paused = True
        self._real.pauseProducing()

    def resumeProducing(self) -> None:
        """See ``IPushProducer``; delivers nothing before it has returned, as other transports."""
        self._paused = False
        if not self._early:
            self._real.resumeProducing()
        elif self._resuming is None:
            self._resuming = self._clock.callLater(0, self._resume)

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self._leaving = True
        self._real.stopProducing()

    # What the receiver of the header calls

    def begin(self) -> None:
        """The protocol is connected: give it what came with the header."""
        if not self._paused:
            self._deliver()

    def hold(self, data: bytes) -> bool:
        """Keep what came while something else waits; returns whether it does."""
        if self._early:
            self._early += data
            return True
        return False

    def end(self) -> None:
        """The connection is lost: what waits is delivered now or never."""
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        self._deliver()
        self._leaving = True

    def _resume(self) -> None:
        self._resuming = None
        if not self._paused:
            self._deliver()
        if not self._paused and not self._leaving:
            self._real.resumeProducing()

    def _deliver(self) -> None:
        data, self._early = self._early, b""
        if data and not self._leaving:
            self.protocol.dataReceived(data)
