"""A reactor whose TCP sockets are made in a namespace, transparent, or with a source address.

Any endpoint that is given it instead of the reactor listens and connects so. All but TCP and TLS is refused: a Unix
socket or an inherited one would quietly be where it would have been without it.
"""

import socket
from typing import Any, NoReturn

from twisted.internet import tcp
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorFDSet
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides, providedBy

from twisted_lb.endpoints.sockets import SocketOptions, Sockets
from twisted_lb.errors import ConfigError


class _Port(tcp.Port):
    def __init__(self, sockets: Sockets, *args: Any) -> None:
        super().__init__(*args)
        self._sockets = sockets

    def createInternetSocket(self) -> Any:
        sock = self._sockets.server(self.addressFamily)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if getattr(self, "_reusePort", False):  # older versions of Twisted have no such thing
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return sock


class _Client(tcp.Client):
    connector: "_Connector"

    def createInternetSocket(self) -> Any:
        return self.connector.sockets.client(self.addressFamily)


class _Connector(tcp.Connector):
    def __init__(self, sockets: Sockets, *args: Any) -> None:
        self.sockets = sockets
        super().__init__(*args)

    def _makeTransport(self) -> Any:
        make: Any = _Client
        return make(self.host, self.port, self.bindAddress, self, self.reactor)


class SocketReactor:
    """All that ``reactor`` is, but for the TCP sockets that are made through it.

    Names are resolved by ``reactor``, which knows nothing of the namespace.

    Raises: ConfigError, as ``Sockets`` does, and for a reactor that has no use for sockets.
    """

    def __init__(self, reactor: Any, **options: Any) -> None:
        before = SocketOptions()
        if isinstance(reactor, SocketReactor):
            reactor, before = reactor._reactor, reactor._sockets.options
        self._reactor: Any = reactor
        if not IReactorFDSet.providedBy(self._reactor):
            raise ConfigError(f"{type(self._reactor).__name__} cannot watch sockets that others have made")
        self._sockets: Sockets = Sockets(before.with_(**options))
        directlyProvides(self, providedBy(self._reactor))

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("listen", "connect", "adopt")):
            return _refuse
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See ``IReactorTCP``."""
        listening = _Port(self._sockets, port, factory, backlog, interface, self._reactor)
        listening.startListening()
        return listening

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See ``IReactorSSL``."""
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> IConnector:
        """See ``IReactorTCP``."""
        options = self._sockets.options
        if bindAddress is not None and (options.source is not None or options.source_port):
            raise ConfigError("the endpoint has an address of its own to connect from; one of the two must go")
        connector = _Connector(self._sockets, host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector

    def connectSSL(
        self, host: str, port: int, factory: Any, contextFactory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> IConnector:
        """See ``IReactorSSL``."""
        return self.connectTCP(host, port, TLSMemoryBIOFactory(contextFactory, True, factory), timeout, bindAddress)


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise ConfigError("a namespace, a source address and transparent sockets are for TCP and TLS endpoints only")
