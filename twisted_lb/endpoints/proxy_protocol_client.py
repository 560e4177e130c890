"""A client endpoint that tells the server, in a PROXY header, for whom it connects.

Source: HAProxy proxy-protocol.txt, section 2.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.config.uses import Use
from twisted_lb.contracts import IProxyCodec
from twisted_lb.endpoints.passing import PassingFactory, PassingProtocol
from twisted_lb.errors import ConfigError, WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.net.hang_up import hang_up
from twisted_lb.plugin_host import load_plugins
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv

_ANY = SocketAddress("0.0.0.0", 0)
"""Stands for the connection's own address when options are checked."""


class Announcement:
    """What each connection begins with. ``source`` and ``destination``: ``None`` for the connection's own addresses."""

    def __init__(
        self,
        codec: IProxyCodec,
        source: SocketAddress | None,
        destination: SocketAddress | None,
        local: bool,
        tlvs: tuple[Tlv, ...],
    ) -> None:
        self._codec = codec
        self._source = source
        self._destination = destination
        self._local = local
        self._tlvs = tlvs

    def encode(self, transport: Any) -> bytes:
        """Return the header for the connection of ``transport``. Raises whatever the codec raises."""
        source = destination = None
        if not self._local:
            source = self._source or _address_of(transport.getHost())
            destination = self._destination or _address_of(transport.getPeer())
        if source is None or destination is None:
            source = destination = None
        header = ProxyHeader(source=source, destination=destination, local=self._local, tlvs=self._tlvs)
        encoded: bytes = self._codec.encode(header)
        return encoded


def _address_of(address: Any) -> SocketAddress | None:
    known = isinstance(address, IPv4Address | IPv6Address | UNIXAddress)
    return SocketAddress.from_address(address) if known else None


class HeaderSender(PassingProtocol):
    """One connection: the header in one write, and then everything is ``wrapped``'s.

    ``failure``: why no header could be made; the connection is ended then, and ``wrapped`` never hears of it.
    """

    def __init__(self, wrapped: Any, announcement: Announcement) -> None:
        self.adopt(wrapped)
        self.protocol = wrapped
        self.failure: Failure | None = None
        self._announcement = announcement

    def connectionMade(self) -> None:
        """See ``BaseProtocol``."""
        transport: Any = self.transport
        try:
            transport.write(self._announcement.encode(transport))
        except Exception:
            self.failure = Failure()
            self.wrapped = None
            hang_up(transport)
        else:
            self.wrapped.makeConnection(transport)


class AnnouncingFactory(PassingFactory):
    """Makes a ``HeaderSender`` for each connection."""

    def __init__(self, wrapped: IProtocolFactory, announcement: Announcement) -> None:
        super().__init__(wrapped)
        self._announcement = announcement

    def buildProtocol(self, addr: Any) -> Any:
        """See ``IProtocolFactory``."""
        protocol = self.wrapped.buildProtocol(addr)
        return None if protocol is None else HeaderSender(protocol, self._announcement)


@implementer(IStreamClientEndpoint)
class ProxyProtocolClientEndpoint:
    """Connects with ``endpoint``, and sends one PROXY header before anything else.

    ``version``: the name of the header's codec. ``source`` and ``destination``: for whom the connection is made, and
    whom that client had connected to; ``None`` for the addresses that the connection itself has. ``local``: it is made
    for nobody else, as a health check is: the header has no addresses. ``tlvs``: sent along if the version has room.

    Raises: ConfigError for options that make no sense, and for a plugin that cannot be loaded.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        version: str = "v2",
        source: SocketAddress | None = None,
        destination: SocketAddress | None = None,
        local: bool = False,
        tlvs: Sequence[Tlv] = (),
    ) -> None:
        if local and (source is not None or destination is not None):
            raise ConfigError('"local" cannot be had together with "source" or "destination": it has no addresses')
        codec = load_plugins().build("proxy_codecs", Use(use=version, where="version")).object
        self._endpoint = endpoint
        self._announcement = Announcement(codec, source, destination, local, tuple(tlvs))
        try:
            codec.encode(ProxyHeader(source=source or _ANY, destination=destination or _ANY, tlvs=tuple(tlvs)))
        except WireError as error:
            raise ConfigError(f"no PROXY header can say this: {error}") from None

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See ``IStreamClientEndpoint``; fails with what the codec raised if there can be no header."""
        connecting: Deferred[Any] = self._endpoint.connect(AnnouncingFactory(protocolFactory, self._announcement))
        return connecting.addCallback(_unwrap)


def _unwrap(sender: HeaderSender) -> Any:
    if sender.failure is not None:
        sender.failure.raiseException()
    return sender.protocol
