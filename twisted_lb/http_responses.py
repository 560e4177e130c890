"""HTTP mode's responses: requests that are sent on, what comes back, and changes of protocol."""

from math import inf

from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.http_timers import HttpTimers
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.lingering import Lingering
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.tunnel import Tunnel
from twisted_lb.walk import AGAIN, RETRY, Event
from twisted_lb.wire.http1 import BLANK, Http1Error
from twisted_lb.wire.http1_authentication import authenticates_connection, challenges_connection

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _RESPONSE, _RELAY = Stage.VALIDATION, Stage.RESPONSE, Stage.RELAY


class HttpResponses(HttpTimers):
    """A session of a frontend in HTTP mode, as far as its requests go to servers, and responses to the client."""

    __slots__ = ()

    # Response and relay

    def _enter_response(self) -> Event | None:
        exchange, connection = self.exchange, self._connection
        self._connection = None
        assert exchange is not None
        assert connection is not None
        backend, frontend = self.backend, self.frontend
        for observer in frontend.observers:
            self._tell(observer.plugin, observer.object.session_routed, self.facts, backend.name, self.server)
        self._stage_since = self.process.moment.now
        forwarder = self._forwarder_to(backend)
        self._arm(self._shortest_s)
        if not exchange.request.plain and not connection.bound and authenticates_connection(exchange.request):
            connection.private = connection.bound = True
        exchange.start(connection, forwarder, backend.http.parsing)
        if self._shaped is not None:
            self._shaped.begin(connection)
        if not exchange.request_done:
            self._send_body(exchange)
        return None

    def response_begun(self) -> None:
        """See ``ExchangeOwner``."""
        exchange = self.exchange
        assert exchange is not None
        assert exchange.response is not None
        status = self.status = exchange.response.status
        if (status == 401 or status == 407) and challenges_connection(exchange.response):
            connection = exchange.connection
            if connection is not None:
                connection.private = connection.bound = True
        self.response_ms = int((self.process.moment.now - self._stage_since) * 1000)
        if self._last or self.process.stopping or exchange.request.method == b"CONNECT":
            # Behind a CONNECT that was refused may be what was meant for the other end of the tunnel.
            exchange.client_keeps = False
        elif not exchange.request_done and not exchange.worth_ending:
            exchange.client_keeps = False
        self.stage = _RELAY  # there is nothing to enter, and this is asked for at each request

    def _enter_relay(self) -> Event | None:
        return None

    def exchange_done(self) -> None:
        """See ``ExchangeOwner``."""
        exchange = self.exchange
        assert exchange is not None
        connection, exchange.connection = exchange.connection, None
        if connection is not None:
            connection.asker = None
            if exchange.reusable and not self.backend.http.server_close and not self.process.stopping:
                self._keep(connection)
            else:
                connection.close()
        keeps, whole = exchange.client_keeps and not self._last, exchange.request_done
        self._exchange_over(NORMAL)
        if keeps and whole:
            if self._begun or self._walking or self._blocked_since or self._client_ended or self.process.stopping:
                self.advance(AGAIN)
            else:
                self.stage = _VALIDATION  # the usual case, for which nothing need be entered: wait
                self._wait_for_request()
        elif keeps and not self.process.stopping:
            self._await_rest(exchange)
        else:
            self._close_client(linger=not whole or exchange.request.keep_alive)

    def _await_rest(self, exchange: Exchange) -> None:
        """Throw away what is left of a request that was answered before it was whole; then the client may ask again.

        The server gets none of it, as it may take it for another request.
        """
        self.stage = _VALIDATION
        rest = self._leaving = exchange.remainder(self.frontend.timers.client)
        self._arm(rest.again_in(self.process.moment.now))
        self.client.resumeProducing()

    def _unwanted(self, data: bytes) -> None:
        """The client goes on sending what nobody waits for."""
        leaving = self._leaving
        if isinstance(leaving, Lingering):
            leaving.heard()
            return
        assert leaving is not None
        try:
            follows = leaving.take(data)
        except Http1Error as error:
            self._keep_refused(error, data, leaving.taken)
            self._close_client(linger=True)
            return
        if follows is not None:
            self._leaving = None
            self._peeked = follows
            self._begun = follows not in BLANK
            self._started = self.process.moment.now
            self.advance_if(self._enter_validation())

    def request_refused(self, error: Http1Error, data: bytes, at: int) -> None:
        """See ``ExchangeOwner``: a defect in the body, of which a part may have been sent."""
        self._keep_refused(error, data, at)
        self._fail(Cause.CLIENT if error.reason == "http1-body-truncated" else Cause.PROXY, error.reason, error.status)

    def response_refused(self, error: Http1Error, data: bytes, at: int = 0) -> None:
        """See ``ExchangeOwner``."""
        self._keep_refused(error, data, at, of_server=True)
        self._fail(Cause.PROXY, error.reason, 502)

    def server_gone(self, reason: str) -> None:
        """See ``ExchangeOwner``."""
        exchange = self.exchange
        assert exchange is not None
        if self.stage is _RESPONSE and exchange.reused and exchange.replayable:
            exchange.replayed = True
            self.advance(RETRY)
        else:
            self._fail(Cause.SERVER, reason, 502)

    # A change of protocol

    def tunnel_begun(self, head: bytes, rest: bytes) -> None:
        """See ``ExchangeOwner``."""
        self.response_begun()
        exchange = self.exchange
        assert exchange is not None
        connection, exchange.connection = exchange.connection, None
        assert connection is not None
        connection.asker = None
        exchange.bytes_out += len(head) + len(rest)
        if self._shaped is not None:
            self._shaped.stop()  # the tunnel takes from the buckets itself
            self._shaped = None
        peeked, self._peeked = self._peeked, b""
        self.process.wheel.disarm(self)
        self._due = self._deadline = inf
        tunnel = self._tunnel = Tunnel(
            self,
            self.process.clock,
            self.process.wheel,
            IdleTimers.of(self.frontend.timers, self.backend.timers),
            self.facts.shaping,
        )
        tunnel.start(self.client, connection, head + rest, peeked)
        if self._client_ended and self._tunnel is not None:
            tunnel.client_ended()

    def tunnel_ended(self, cause: Cause, reason: str) -> None:
        """See ``TunnelOwner``."""
        tunnel, self._tunnel = self._tunnel, None
        exchange = self.exchange
        assert tunnel is not None
        assert exchange is not None
        bytes_in, bytes_out = tunnel.bytes()
        exchange.bytes_in += bytes_in
        exchange.bytes_out += bytes_out
        self._exchange_over(NORMAL if cause is Cause.NORMAL else Ending(cause, Stage.RELAY, reason))
        tunnel.forget()
        self._closing = True
        self._connection_over()
