"""A service that is asked over HTTP: short questions, short answers, over connections that are kept for the next one.

Source: ``twisted.web.client.Agent``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    clientFromString,
    wrapClientTLS,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from twisted_lb.errors import ConfigError
from twisted_lb.lookups import UnansweredError

IDLE_S = 15.0
"""How long a connection waits for its next question."""
_END = "-----END CERTIFICATE-----"


class _Quiet(HTTPConnectionPool._factory):  # type: ignore[valid-type,misc]
    """Has nothing to log about each connection."""

    noisy = False


class WebAnswer(NamedTuple):
    """What a service answered; ``body``: ``None`` if it is longer than it may be."""

    status: int
    headers: Headers
    body: bytes | None


class WebService:
    """One URL, ``http://`` or ``https://``.

    ``timeout_s``: to connect; how long an answer may take is for who asks to say, and to cancel. ``kept``: most
    connections that are kept. ``most_bytes``: of a body. ``endpoint``: a description of what to connect to in place of
    the URL's host and port; whether it is TLS the URL says. ``ca_file``: certificates in PEM in place of the
    authorities that this machine trusts.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        timeout_s: float,
        kept: int,
        most_bytes: int,
        endpoint: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        """Connect to nobody yet. Raises: ConfigError."""
        self._url = url.encode()
        self._most_bytes = most_bytes
        self._pool = pool = HTTPConnectionPool(reactor)
        pool._factory = _Quiet
        pool.maxPersistentPerHost = kept
        pool.cachedConnectionTimeout = IDLE_S  # type: ignore[assignment]
        endpoints = _OneEndpoint(_endpoint(reactor, URI.fromBytes(self._url), timeout_s, endpoint, ca_file))
        self._agent: Any = Agent.usingEndpointFactory(reactor, endpoints, pool)

    async def ask(self, fields: Sequence[tuple[bytes, bytes]], body: bytes | None = None) -> WebAnswer:
        """Ask with GET, or with POST if there is a body.

        Raises: UnansweredError, or what connecting failed with.
        """
        response = await self._response(fields, body)
        collector = _Collector(self._most_bytes)
        response.deliverBody(collector)
        return WebAnswer(response.code, response.headers, await collector.whole)

    async def _response(self, fields: Sequence[tuple[bytes, bytes]], body: bytes | None) -> Any:
        try:
            return await self._request(fields, body)
        except (ResponseNeverReceived, RequestTransmissionFailed) as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise
            # A connection that was kept may have been closed a moment ago. Asking twice changes nothing.
            self._pool.closeCachedConnections()
        except ResponseFailed:
            raise UnansweredError("the answer is no HTTP") from None
        try:
            return await self._request(fields, body)
        except (ResponseNeverReceived, RequestTransmissionFailed, ResponseFailed):
            raise UnansweredError("the connection closes without an answer") from None

    def _request(self, fields: Sequence[tuple[bytes, bytes]], body: bytes | None) -> Any:
        headers = Headers()
        for name, value in fields:
            headers.addRawHeader(name, value)
        if body is None:
            return self._agent.request(b"GET", self._url, headers)
        return self._agent.request(b"POST", self._url, headers, _Whole(body))


class _Collector(Protocol):
    """Gathers a body of at most ``most_bytes``; a longer one costs its connection, and is ``None``."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._pieces: list[bytes] = []
        self.whole: Deferred[bytes | None] = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        self._room -= len(data)
        self._pieces.append(data)
        if self._room < 0 and not self.whole.called:
            self._pieces.clear()
            self.whole.callback(None)
            self._hang_up()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """See ``IProtocol``."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(UnansweredError("the answer breaks off"))

    def _hang_up(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()


@implementer(IBodyProducer)
class _Whole:
    """A request's body that is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """See ``IBodyProducer``."""
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """See ``IBodyProducer``."""

    def resumeProducing(self) -> None:
        """See ``IBodyProducer``."""

    def stopProducing(self) -> None:
        """See ``IBodyProducer``."""


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    """Leads to the same place, whatever the URL says."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> Any:
        """See ``IAgentEndpointFactory``."""
        return self._endpoint


def _endpoint(reactor: Any, url: URI, timeout_s: float, description: str | None, ca_file: str | None) -> Any:
    """Make what leads to the service. An address needs no resolver, and no thread for it. Raises: ConfigError."""
    host = url.host.decode("ascii").strip("[]")
    endpoint: Any
    if description is not None:
        try:
            endpoint = clientFromString(reactor, description)
        except Exception as error:
            raise ConfigError(f'endpoint: "{description}" is no description of an endpoint: {error}') from None
    elif isIPAddress(host):
        endpoint = TCP4ClientEndpoint(reactor, host, url.port, timeout_s)
    elif isIPv6Address(host):
        endpoint = TCP6ClientEndpoint(reactor, host, url.port, timeout_s)
    else:
        endpoint = HostnameEndpoint(reactor, host, url.port, timeout_s)
    if url.scheme == b"https":
        policy = BrowserLikePolicyForHTTPS(None if ca_file is None else _authorities(ca_file))
        return wrapClientTLS(policy.creatorForNetloc(host.encode(), url.port), endpoint)
    if ca_file is not None:
        raise ConfigError("ca_file: it is for https://")
    return endpoint


def _authorities(path: str) -> Any:
    """Read certificates. Raises: ConfigError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts = [text + _END for text in file.read().split(_END)[:-1]]
        certificates = [Certificate.loadPEM(text.encode()) for text in texts]
    except OSError as error:
        raise ConfigError(f"ca_file: {path}: cannot be read: {error.strerror}") from None
    except Exception:  # whatever OpenSSL has to say
        certificates = []
    if not certificates:
        raise ConfigError(f"ca_file: {path}: holds no certificates in PEM")
    return trustRootFromCertificates(certificates)
