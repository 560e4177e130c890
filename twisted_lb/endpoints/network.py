"""TCP endpoints in network namespaces, for transparent listening, and with a source address. Linux only, mostly."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from twisted_lb.endpoints.socket_reactor import SocketReactor


@implementer(IStreamServerEndpoint)
class NetworkServerEndpoint:
    """Listens on a TCP port.

    ``address``: where; an IPv6 address for IPv6, and empty for all of IPv4. ``namespace``: in which network namespace,
    by name or path. ``transparent``: for what TPROXY leads here; ``getHost()`` of a connection's transport is then the
    address that the client has connected to.

    Raises: ConfigError if the namespace or the privilege is not to be had.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        *,
        address: str = "",
        backlog: int = 50,
        namespace: str | None = None,
        transparent: bool = False,
    ) -> None:
        sockets = SocketReactor(reactor, namespace=namespace, transparent=transparent)
        self._endpoint = TCP4ServerEndpoint(sockets, port, backlog, address)

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """See ``IStreamServerEndpoint``."""
        port: Deferred[IListeningPort] = self._endpoint.listen(protocolFactory)
        return port


@implementer(IStreamClientEndpoint)
class NetworkClientEndpoint:
    """Connects to a TCP port.

    ``host``: an address, or a name, which is looked up outside of the namespace. ``namespace``: in which network
    namespace, by name or path. ``source``: the IP address to connect from, which with ``transparent`` may be one that
    this machine has not. ``source_port``: 0 lets the kernel choose. ``interface``: which packets take.

    Raises: ConfigError if one of these makes no sense or is not to be had.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        *,
        timeout_s: float = 30.0,
        namespace: str | None = None,
        source: str | None = None,
        source_port: int = 0,
        interface: str | None = None,
        transparent: bool = False,
    ) -> None:
        sockets = SocketReactor(
            reactor,
            namespace=namespace,
            source=source,
            source_port=source_port,
            interface=interface,
            transparent=transparent,
        )
        self._endpoint = HostnameEndpoint(sockets, host, port, timeout_s)

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See ``IStreamClientEndpoint``."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting
