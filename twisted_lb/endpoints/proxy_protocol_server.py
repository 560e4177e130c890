"""A server endpoint whose clients are behind a proxy that sends PROXY headers.

Source: HAProxy proxy-protocol.txt, section 2.
"""

from collections.abc import Sequence
from typing import Any, Literal

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.config.uses import Use
from twisted_lb.endpoints.passing import PassingFactory, PassingProtocol
from twisted_lb.endpoints.proxied_transport import ProxiedTransport
from twisted_lb.errors import ConfigError, WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.net.hang_up import hang_up
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import load_plugins
from twisted_lb.stages.proxy_header import Reception, Trust, describe
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.proxy_header import ProxyHeader

MIN_HEADER = 16 + 216
"""Bytes: a v2 header without any TLV, with the longest addresses, those of Unix sockets."""


@implementer(IHandshakeListener)
class HeaderReceiver(PassingProtocol):
    """One connection: reads the header, and only then makes its protocol.

    ``factory`` sees the addresses that the header has, and nothing at all of a connection whose header is not good.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, factory: IProtocolFactory, reception: Reception) -> None:
        self._clock = clock
        self._factory = factory
        self._reception = reception
        self._proxied: ProxiedTransport | None = None
        self._buffer: bytes | None = b""
        self._deadline: IDelayedCall | None = None
        self._handshaken = False

    # Before there is a header

    def connectionMade(self) -> None:
        """See ``BaseProtocol``."""
        source = SocketAddress.from_address(self._real.getPeer()).host
        match self._reception.expects(source):
            case Trust.MUST_SEND:
                self._deadline = self._clock.callLater(self._reception.timeout_s, self._expired)
            case Trust.DIRECT:
                self._begin(None, b"")
            case Trust.REFUSED:
                self._refuse("such sources are not served")

    @property
    def _real(self) -> Any:
        return self.transport

    def _read(self, data: bytes) -> None:
        assert self._buffer is not None
        self._buffer += data
        try:
            answer = self._reception.read(self._buffer)
        except WireError as error:
            self._refuse(describe(error, self._buffer))
        except Exception:
            self._log.failure("connection from {peer} ended: a PROXY codec failed", peer=self._real.getPeer())
            self._leave()
        else:
            if not isinstance(answer, NeedMore):
                header, used = answer
                self._begin(header, self._buffer[used:])

    def _expired(self) -> None:
        self._deadline = None
        had = f"{len(self._buffer)} bytes" if self._buffer else "nothing"
        self._refuse(f"no whole PROXY header after {self._reception.timeout_s:g} s, but {had}")

    def _refuse(self, why: str) -> None:
        self._log.warn("connection from {peer} refused: {why}", peer=self._real.getPeer(), why=why)
        self._leave()

    def _leave(self) -> None:
        self._stop_waiting()
        self._buffer = None
        hang_up(self._real)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # With the header

    def _begin(self, header: ProxyHeader | None, early: bytes) -> None:
        self._stop_waiting()
        self._buffer = None
        proxied = ProxiedTransport(self._clock, self, header, early)
        try:
            protocol = self._factory.buildProtocol(proxied.getPeer())
        except Exception:
            self._log.failure("no protocol for {peer}", peer=proxied.getPeer())
            protocol = None
        if protocol is None:
            self._leave()
            return
        self._proxied = proxied
        self.adopt(protocol)
        protocol.makeConnection(proxied)
        if self._handshaken and IHandshakeListener.providedBy(self.wrapped):
            self.wrapped.handshakeCompleted()
        proxied.begin()

    # IProtocol

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if self._buffer is not None:
            self._read(data)
        elif self._proxied is not None and not self._proxied.hold(data):
            super().dataReceived(data)

    def handshakeCompleted(self) -> None:
        """See ``IHandshakeListener``; TLS below may be ready long before the header has come."""
        if self.wrapped is None:
            self._handshaken = True
        elif IHandshakeListener.providedBy(self.wrapped):
            super().handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        if self._buffer is not None:
            # One that sends nothing is most likely a look whether the port is open; TLS below has more to tell.
            silent = not self._buffer and reason.check(ConnectionDone, ConnectionLost)
            tell = self._log.debug if silent else self._log.info
            text = "connection from {peer} closed after {count} bytes of a PROXY header: {why}"
            tell(text, peer=self._real.getPeer(), count=len(self._buffer), why=reason.getErrorMessage())
        self._stop_waiting()
        self._buffer = None
        if self._proxied is not None:
            self._proxied.end()
        super().connectionLost(reason)


class ProxiedFactory(PassingFactory):
    """Makes a ``HeaderReceiver`` for each connection."""

    def __init__(self, clock: IReactorTime, wrapped: IProtocolFactory, reception: Reception) -> None:
        super().__init__(wrapped)
        self._clock = clock
        self._reception = reception

    def buildProtocol(self, addr: Any) -> Any:
        """See ``IProtocolFactory``; ``wrapped`` is asked when the header is there."""
        return HeaderReceiver(self._clock, self.wrapped, self._reception)


@implementer(IStreamServerEndpoint)
class ProxyProtocolServerEndpoint:
    """Listens at ``endpoint``, where each connection begins with a PROXY header.

    A protocol is made only when the header is whole and valid. Its transport's ``getPeer`` and ``getHost`` give the
    addresses that the header has, or the real ones if it has none; ``IProxiedTransport`` gives the whole header.
    Anything else than a header ends the connection at once, with a line in the log.

    ``versions``: which headers to take, by the names of their codecs. ``from_``: who must send a header, as networks
    (``10.0.0.0/8``), addresses and ``unix`` for the clients of a Unix socket; ``None`` for everybody, so that whoever
    reaches the port is believed. ``others``: what becomes of everybody else: ``reject``, or ``direct`` to serve them
    without a header, none of their bytes being taken for one. ``timeout_s``: until the header must be whole.
    ``max_header``: the most bytes that it may have.

    Raises: ConfigError for options that make no sense, and for a plugin that cannot be loaded.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamServerEndpoint,
        *,
        versions: Sequence[str] = ("v1", "v2"),
        from_: Sequence[str] | None = None,
        others: Literal["reject", "direct"] | None = None,
        timeout_s: float = 3.0,
        max_header: int = 4096,
    ) -> None:
        self._clock = reactor
        self._endpoint = endpoint
        if others is not None and from_ is None:
            raise ConfigError('"others" needs "from": without it, everybody must send a header')
        if others not in (None, "reject", "direct"):
            raise ConfigError(f'others: "{others}" is neither "reject" nor "direct"')
        if not versions:
            raise ConfigError("versions: at least one is needed")
        if not 0 < timeout_s < float("inf"):
            raise ConfigError(f"timeout: {timeout_s} is no number of seconds above 0")
        if max_header < MIN_HEADER:
            raise ConfigError(f"max_header: {max_header} is less than {MIN_HEADER} bytes, which a header may well have")
        plugins = load_plugins()
        self._reception = Reception(
            [plugins.build("proxy_codecs", Use(use=name, where="versions")) for name in versions],
            None if from_ is None else Networks.parse(from_),
            Trust.DIRECT if others == "direct" else Trust.REFUSED,
            timeout_s,
            max_header,
        )

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """See ``IStreamServerEndpoint``."""
        port: Deferred[IListeningPort] = self._endpoint.listen(
            ProxiedFactory(self._clock, protocolFactory, self._reception)
        )
        return port
