"""HTTP mode: one exchange after the other, each with its own walk from validation to the access log.

``session.HTTP_TRANSITIONS`` is the order. The messages themselves are the business of ``stages.http_exchange``.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.backends.idle import Idle, Own
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend, Refusal
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.session import AGAIN, HTTP_TRANSITIONS, LATER, PASSED, RETRY, Event, Session, Steps, steps_of
from twisted_lb.stages.access_log import http_record_of, record_of
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.body_exchange import BodyExchange, Later
from twisted_lb.stages.body_rate import BodyRate
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.lingering import LOOK_S, Lingering, undelivered
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.relay_transports import can_half_close
from twisted_lb.stages.tunnel import Tunnel
from twisted_lb.verdicts import Allow, Answer, Decision, Deny, HttpVerdict, NeedMore, Redirect, Tarpit
from twisted_lb.wire.http1 import Forwarder, Framing, Http1Error, RequestHead, parse_request
from twisted_lb.wire.http1_authentication import authenticates_connection, challenges_connection

PIPELINED_LIMIT = 64 * 1024
"""Bytes of further requests that are read at most while one is being answered."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FIRST_WORD_S = 1.0
"""How long a client that has just connected may still ask when the process is stopping: it may be about to."""
_BLANK = (b"", b"\r", b"\r\n")
"""What may come before a request line without being the beginning of a request."""

# Looking a member up on its Enum is a call of a Python function on 3.11.
_PROXY_HEADER, _VALIDATION, _POLICY = Stage.PROXY_HEADER, Stage.VALIDATION, Stage.POLICY
_RESPONSE, _RELAY, _ACCESS_LOG, _NONE = Stage.RESPONSE, Stage.RELAY, Stage.ACCESS_LOG, Framing.NONE
_BODY = Stage.BODY

STATUS: dict[tuple[Stage, Cause], int] = {
    (Stage.VALIDATION, Cause.CLIENT_TIMEOUT): 408,
    (Stage.VALIDATION, Cause.PROXY): 400,
    (Stage.POLICY, Cause.PROXY): 403,
    (Stage.TARPIT, Cause.PROXY): 500,
    (Stage.BODY, Cause.CLIENT_TIMEOUT): 408,
    (Stage.BODY, Cause.RESOURCE): 503,
    (Stage.BALANCE, Cause.SERVER): 503,
    (Stage.QUEUE, Cause.SERVER): 503,
    (Stage.QUEUE, Cause.SERVER_TIMEOUT): 503,
    (Stage.CONNECT, Cause.SERVER): 503,
    (Stage.CONNECT, Cause.SERVER_TIMEOUT): 503,
    (Stage.CONNECT, Cause.RESOURCE): 503,
    (Stage.RESPONSE, Cause.SERVER): 502,
    (Stage.RESPONSE, Cause.PROXY): 502,
    (Stage.RESPONSE, Cause.SERVER_TIMEOUT): 504,
    (Stage.RESPONSE, Cause.CLIENT_TIMEOUT): 408,
    (Stage.RESPONSE, Cause.RESOURCE): 503,
}
"""What a client is answered that gets no server's response. Source: HAProxy, see the table of log codes."""


@implementer(IPushProducer)
class HttpSession(Session):
    """A session of a frontend in HTTP mode. The times and counts of ``Session`` are those of the current request.

    ``exchange``: the current request with its response; ``None`` between two. ``status``: what was answered last.
    ``requests``: how many there were.
    """

    __slots__ = (
        "_begun",
        "_blocked_left",
        "_blocked_since",
        "_closing",
        "_connection",
        "_deadline",
        "_due",
        "_forwarder",
        "_home",
        "_http",
        "_last_ending",
        "_leaving",
        "_next",
        "_of_connection",
        "_opened",
        "_own",
        "_producing",
        "_rate",
        "_sentence",
        "_total_in",
        "_total_out",
        "_tunnel",
        "_walking",
        "_way",
        "exchange",
        "request_ms",
        "requests",
        "response_ms",
        "status",
    )

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        client: Any,
        facts: Facts,
        reception: Reception | None = None,
    ) -> None:
        super().__init__(process, frontend, limits, client, facts, reception)
        self.exchange: Exchange | None = None
        self.requests = 0
        self.status = 0
        self.request_ms = self.response_ms = -1
        assert frontend.http is not None
        self._http = frontend.http
        self._way = _WAYS[frontend.routing is not None, frontend.http.bodies is not None]
        self._connection: ServerConnection | None = None
        self._forwarder: tuple[Backend, Forwarder] | None = None
        self._own: Own | None = None
        self._home: Idle | None = None
        self._of_connection: tuple[int, str | None] = (0, None)
        self._sentence: Tarpit | None = None
        self._deadline = self._due = inf
        self._blocked_since = 0.0
        self._blocked_left = 0
        self._begun = self._client_ended = self._closing = self._producing = self._walking = False
        self._leaving: Lingering | None = None
        self._last_ending = NORMAL
        self._next: Event | None = None
        self._tunnel: Tunnel | None = None
        self._rate: BodyRate | None = None
        self._opened = self._started
        self._total_in = self._total_out = 0

    def advance(self, event: Event | None) -> None:
        """See ``Session``. What is said from within a step is heard when that step is over."""
        if self._walking:
            self._next = event
            return
        self._walking = True
        steps = self._way
        try:
            while event is not None:
                while event is not None:
                    self.stage, enter = steps[self.stage][event]
                    event = enter(self)
                event, self._next = self._next, None
        except Exception:
            self._log.failure("a defect in stage {stage}; the request is ended", stage=self.stage.name.lower())
            self.kill("a defect", Cause.INTERNAL)
        finally:
            self._walking = False

    # Validation: a request's head

    def _enter_validation(self) -> Event | None:
        timers = self.frontend.timers
        if not self._producing:
            self._producing = True
            self._of_connection = self.facts.priority, self.facts.backend
            self.client.registerProducer(self, True)
            self.client.resumeProducing()
            self._arm(timers.http_request)
            self._begun = self._peeked not in _BLANK
            return self._read_head() if self._begun else None
        if self._blocked_since:
            # Who does not take what was answered before is not asked for more.
            self.client.pauseProducing()
            self._arm(timers.client)
            return None
        return self._next_head()

    def _next_head(self) -> Event | None:
        """Go on with the request of which the beginning is here, or wait for one."""
        if self._begun:
            return self._read_head(begins=True)
        if self._client_ended or self.process.stopping:
            self._close_client()
        else:
            self._arm(self.frontend.timers.http_keep_alive)
            self.client.resumeProducing()
        return None

    def _read_head(self, begins: bool = False) -> Event | None:
        """Begin an exchange if a whole head has come. ``begins``: these are its first bytes."""
        data = self._peeked
        try:
            head = parse_request(data, 0, self._http.parsing)
        except Http1Error as error:
            return self._refuse(error)
        if isinstance(head, NeedMore):
            if self._client_ended:
                return self._end(Cause.CLIENT, "left in the middle of a request", status=400)
            if begins:
                self._arm(self.frontend.timers.http_request)
                self.client.resumeProducing()
            return None
        self._peeked = data[head.length :] if len(data) > head.length else b""
        if self._http.monitor_uri == head.target:
            return self._answer_monitor(head)
        self._begin(head)
        return PASSED

    def _answer_monitor(self, head: RequestHead) -> Event | None:
        """Tell a load balancer in front whether to send clients here; as with HAProxy, no policy asks and no log says.

        Source: HAProxy configuration.txt, "monitor-uri" and "monitor fail".
        """
        self.requests += 1
        self._started = self.process.moment.now
        self._begun = self._peeked not in _BLANK
        keeps = head.keep_alive and head.framing is _NONE and not (self._last or self.process.stopping)
        self.client.write(self._http.answers.monitor(self.frontend.backend.usable, head, keeps))
        if keeps:
            return AGAIN
        self._close_client(linger=head.framing is not _NONE)
        return None

    def _begin(self, head: RequestHead) -> None:
        process = self.process
        now = process.moment.now
        self.request_ms = int((now - self._started) * 1000)
        self.response_ms = self.queue_ms = self.connect_ms = -1
        self.retries = self.queued_behind = self.status = 0
        self.redispatched = False
        self.requests += 1
        self._questions = None
        self.server = None
        self.facts.http = head
        bodies = self._http.bodies
        if bodies is None:
            exchange = Exchange(self, head, process.moment)
        else:
            exchange = bodies.exchange(self, head, process.moment, self.facts)
            if isinstance(exchange, BodyExchange):
                exchange.deadline = self._deadline
        self.exchange = exchange
        exchange.client_keeps = head.keep_alive
        if not exchange.request_done:
            self.client.pauseProducing()
            least = self._http.least_rate
            self._rate = None if least is None else BodyRate(least)

    # Policy

    def _enter_policy(self) -> Event | None:
        frontend = self.frontend
        if frontend.routing is None:
            return PASSED
        if frontend.at_admission == len(frontend.policies):
            return self._route()
        self.facts.priority, self.facts.backend = self._of_connection  # not what was set for the request before
        self._questions = self._ask_from(frontend.at_admission)
        return self._ask_policies(len(frontend.policies))

    def _judge(self, outcome: Decision) -> Event | None:
        if type(outcome) is Allow or self.stage is not _POLICY:
            return super()._judge(outcome)
        if isinstance(outcome, Tarpit):
            self._sentence = outcome
            return LATER
        if isinstance(outcome, Answer | Redirect):
            return self._end(Cause.LOCAL, outcome.reason, verdict=outcome)
        assert isinstance(outcome, Deny)
        return self._end(Cause.PROXY, outcome.reason, verdict=outcome)

    def _turn_away(self, refusal: Refusal) -> Event | None:
        return self._end(Cause.PROXY, refusal.reason, status=refusal.status)

    def _enter_tarpit(self) -> Event | None:
        self._arm(self.frontend.timers.tarpit)
        self.client.resumeProducing()  # else nobody would know that it has left
        return None

    # Body: filters look at the request, and all of it may have to be here

    def _enter_body(self) -> Event | None:
        exchange = self.exchange
        if not isinstance(exchange, BodyExchange):
            return PASSED
        try:
            denied = exchange.look_at_request()
        except PluginError as error:
            return self._end_blaming(error)
        if denied is not None:
            self.body_denied(denied)
            return None
        if exchange.request_done or not exchange.held:
            return PASSED
        if exchange.request.expect_continue and not self._peeked:
            exchange.bytes_out += len(CONTINUE)
            self.client.write(CONTINUE)
        exchange.last_client = self.process.moment.now
        self._deadline = inf
        self._send_body(exchange)
        if self.exchange is not exchange:
            return None
        if exchange.request_done:
            return PASSED
        self._await_body(exchange.last_client)
        return None

    def _await_body(self, now: float) -> None:
        """Whether the body of a request that is held comes in time; if so, see when to look again.

        Source: HAProxy, ``timeout http-request`` with ``option http-buffer-request``.
        """
        exchange, bodies, client_s = self.exchange, self._http.bodies, self.frontend.timers.client
        assert isinstance(exchange, BodyExchange)
        assert bodies is not None
        assert bodies.buffering is not None
        reason = "no whole request within timeouts.http_request"
        due = exchange.deadline
        if not bodies.buffering.absolute:
            reason = "idle for too long"
            due = inf if client_s is None else exchange.last_client + client_s
        if due <= now:
            self._end(Cause.CLIENT_TIMEOUT, reason)
        elif self._fast_enough(exchange, now):
            self._arm_sooner(due - now)

    def _fast_enough(self, exchange: Exchange, now: float) -> bool:
        """Whether the client sends its body as fast as ``min_rate`` asks; if so, see when to look again."""
        rate = self._rate
        if rate is None or exchange.request_done:
            return True
        left_s = rate.left_s(now, exchange.bytes_in - exchange.request.length)
        if left_s <= 0:
            self._end(Cause.CLIENT_TIMEOUT, "slower than min_rate")
            return False
        self._arm_sooner(left_s)
        return True

    def body_denied(self, deny: Deny) -> None:
        """See ``BodyOwner``."""
        self._end(Cause.PROXY, deny.reason, verdict=deny)

    def body_filter_failed(self, error: PluginError) -> None:
        """See ``BodyOwner``."""
        self._end_blaming(error)

    def buffer_failed(self, error: OSError) -> None:
        """See ``BodyOwner``."""
        what = f"a request's body cannot be held in a temporary file: {error.strerror or error}"
        self.process.complain(f"frontend {self.frontend.name}", what)
        self._end(Cause.RESOURCE, f"temporary file: {error.strerror or error}")

    def later(self, call: Callable[[], None]) -> Later:
        """See ``BodyOwner``."""
        return self.process.clock.callLater(0, call)

    # Balance: a client that has logged in on a connection stays with it

    def _enter_balance(self) -> Event | None:
        own = self._own
        if own is not None and own.bound:
            connection = own.insisted()
            if connection is not None and self.backend.choose_this(connection.server):
                self.backend.load.connections += 1
                self.server = connection.server
                self.queue_ms = 0
                return PASSED
        return super()._enter_balance()

    # Connect: a connection that is open already, or a new one

    def _enter_connect(self) -> Event | None:
        connection = self._reusable()
        if connection is None:
            return super()._enter_connect()
        self.connect_ms = 0
        self._connection = connection
        return PASSED

    def _reusable(self) -> ServerConnection | None:
        """Take a connection that has carried requests before, if this one may go over such a one."""
        server, exchange = self.server, self.exchange
        assert server is not None
        assert exchange is not None
        idle = server.idle
        if idle is None or exchange.replayed:
            return None
        replayable = exchange.replayable
        while True:
            connection = None
            if self._own is not None:
                connection = self._own.take(idle)
            if connection is None and not idle.private:
                plain = idle.key_of is None and (replayable or self.requests > 1)
                connection = idle.take() if plain else self._shared(idle, replayable)
            if connection is None or replayable or not connection.stale:
                return connection
            connection.close()  # the server was faster, and this request could not be sent again

    def _shared(self, idle: Idle, replayable: bool) -> ServerConnection | None:
        """Take one that may have carried other clients' requests.

        Unlike in HAProxy, a client's first request may go over any of them if we could send it again ourselves: what
        its levels protect is a client that nobody told that its connection may be closed any time.
        """
        key = None if idle.key_of is None else idle.key_of(self.facts)
        if self.requests == 1 and not replayable:
            reuse = self.backend.http.reuse
            if reuse == "safe":
                return None
            if reuse == "aggressive":
                return idle.take(key, used=2)
        return idle.take(key)

    def open_already(self, server: Server) -> bool:
        """See ``ConnectOwner``."""
        before, self.server = self.server, server
        connection = self._connection = self._reusable()
        if connection is None:
            self.server = before
            return False
        self._leave_connect()
        self.advance(PASSED)
        return True

    def connect_within(self, delay_s: float | None) -> None:
        """See ``ConnectOwner``. Each attempt begins with this."""
        connecting = self._connecting
        assert connecting is not None
        self._home = connecting.server.idle  # as it is now: a reload may replace it before the connection is open
        super().connect_within(delay_s)

    def _leave_connect(self) -> None:
        super()._leave_connect()
        assert self.exchange is not None
        if self.exchange.replayed:
            self.retries += 1

    def server_connected(self, transport: Any) -> None:
        """See ``ConnectOwner``."""
        client = self.client
        if type(client) is Stream and client.fd < 0:
            # It was reset a moment ago, in the same batch of events, and we are about to be told.
            transport.drop(reset=True)
            return
        self._leave_connect()
        server = self.server
        assert server is not None
        preface = b""
        if server.sender is not None:
            try:
                preface = server.sender.preface(self.facts)
            except PluginError as error:
                transport.drop()
                self._end_blaming(error)
                return
        home, self._home = self._home, None
        private = home is None or home.private
        key = None if home is None or home.key_of is None else home.key_of(self.facts)
        connection = ServerConnection(server, private, None, home, key)
        if isinstance(transport, Stream):
            transport.attach(connection, half_close=True)
            connection.makeConnection(transport)
        else:
            connection.protocol = transport
            connection.makeConnection(transport.transport)
            transport.relay_through(connection)
        connection.transport.resumeProducing()
        if preface:
            connection.transport.write(preface)
        self._connection = connection
        self.advance(PASSED)

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
        self._arm(self._shortest(backend))
        if not exchange.request.plain and not connection.bound and authenticates_connection(exchange.request):
            connection.private = connection.bound = True
        exchange.start(connection, self._forwarder_to(backend), backend.http.parsing)
        if not exchange.request_done:
            self._send_body(exchange)
        return None

    def pause_client(self) -> None:
        """See ``ExchangeOwner``."""
        self.client.pauseProducing()
        if self._rate is not None:
            self._rate.pause(self.process.moment.now)

    def resume_client(self) -> None:
        """See ``ExchangeOwner``."""
        self.client.resumeProducing()
        if self._rate is not None:
            self._rate.resume(self.process.moment.now)
        exchange = self.exchange
        if exchange is not None and self._fast_enough(exchange, self.process.moment.now):
            self._arm_sooner(self.frontend.timers.client)

    def _send_body(self, exchange: Exchange) -> None:
        """Send what of the body is here, and have the client's read that brings the rest."""
        if self._peeked:
            data, self._peeked = self._peeked, b""
            self._peeked = exchange.request_data(data)
        if not exchange.request_done and self.exchange is exchange and not exchange.full:
            self.resume_client()

    def _forwarder_to(self, backend: Backend) -> Forwarder:
        known = self._forwarder
        if known is not None and known[0] is backend:
            return known[1]
        forwarder = self._http.forwarder(backend, self.facts, ISSLTransport.providedBy(self.client))
        self._forwarder = backend, forwarder
        return forwarder

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
        if not exchange.request_done or self._last or self.process.stopping or exchange.request.method == b"CONNECT":
            # Behind a CONNECT that was refused may be what was meant for the other end of the tunnel.
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
        if keeps:
            self.advance(AGAIN)
        else:
            self._close_client(linger=not whole or exchange.request.keep_alive)

    def _keep(self, connection: ServerConnection) -> None:
        """Let a connection wait for its next request, or close it."""
        home = connection.home
        if home is None or home is not connection.server.idle:
            connection.close()  # it was made under settings that are not in force any more
            return
        if self._blocked_since:
            connection.transport.resumeProducing()
        if connection.private:
            if self._own is None:
                self._own = Own()
            self._own.put(connection)
        else:
            home.put(connection, self.process.moment.now)

    @property
    def _last(self) -> bool:
        """Whether the client can send no request behind the current one."""
        return self._client_ended and not self._peeked

    def _exchange_over(self, ending: Ending) -> None:
        """Write the record, and give back what was taken of the backend."""
        if self.frontend.recorded:
            try:
                self._record(ending)
            except Exception:
                self._log.failure("a record is lost")
        exchange = self.exchange
        if exchange is None:
            self._total_in += len(self._peeked)
        else:
            self._total_in += exchange.bytes_in
            self._total_out += exchange.bytes_out
            exchange.close()
        self.exchange = self.facts.http = None
        self._last_ending = ending
        self._leave_backend(self.stage)
        self.server = None
        self.backend = self.frontend.backend
        self._begun = bool(self._peeked) and self._peeked not in _BLANK
        self._started = self.process.moment.now

    def request_refused(self, error: Http1Error) -> None:
        """See ``ExchangeOwner``: a defect in the body, of which a part may have been sent."""
        self._fail(Cause.CLIENT if error.reason == "http1-body-truncated" else Cause.PROXY, error.reason, error.status)

    def response_refused(self, error: Http1Error) -> None:
        """See ``ExchangeOwner``."""
        self._fail(Cause.PROXY, error.reason, 502)

    def exchange_crashed(self) -> None:
        """See ``ExchangeOwner``."""
        self._log.failure("a defect in stage {stage}; the connection is ended", stage=self.stage.name.lower())
        self.kill("a defect", Cause.INTERNAL)

    def server_gone(self, reason: str) -> None:
        """See ``ExchangeOwner``."""
        exchange = self.exchange
        assert exchange is not None
        if self.stage is _RESPONSE and exchange.reused and exchange.replayable:
            exchange.replayed = True
            self.advance(RETRY)
        else:
            self._fail(Cause.SERVER, reason, 502)

    def _fail(self, cause: Cause, reason: str, status: int) -> None:
        """The exchange cannot go on: answer, or cut the client off who has a part of the response already."""
        self._end(cause, reason, status=status)

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
        peeked, self._peeked = self._peeked, b""
        self.process.wheel.disarm(self)
        self._due = self._deadline = inf
        tunnel = self._tunnel = Tunnel(
            self, self.process.clock, self.process.wheel, IdleTimers.of(self.frontend.timers, self.backend.timers)
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

    # Answers of ours

    def _refuse(self, error: Http1Error) -> Event | None:
        """Answer a head that broke a rule; nothing that follows on this connection can be understood."""
        what = f"{self.facts.source}: {error.reason} at byte {error.offset}"
        self.process.complain(f"frontend {self.frontend.name}", what)
        return self._end(Cause.PROXY, error.reason, status=error.status)

    def _end(
        self,
        cause: Cause,
        reason: str,
        plugin: str = "",
        reset: bool = False,
        status: int | None = None,
        verdict: Deny | HttpVerdict | None = None,
    ) -> Event | None:
        """End the current request, with an answer if the client has not got a part of one yet.

        ``verdict``: the policy's that the answer is; else it is the error page of ``status``.
        """
        stage = self.stage
        if stage is _ACCESS_LOG or self._closing:
            return None
        if stage < _VALIDATION:
            return super()._end(cause, reason, plugin, reset)
        exchange = self.exchange
        if exchange is None and self.requests and not self._begun:
            self._drop_client(reset)  # between two requests
            return None
        self._abandon()
        ending = Ending(cause, stage, reason, plugin)
        if exchange is not None and exchange.response is not None:
            self._exchange_over(ending)
            if cause in _OF_THE_SERVER and exchange.framing in _EVIDENT:
                self._close_client(linger=not exchange.request_done)
            else:
                self._drop_client(reset=True)
        elif cause in _UNANSWERED and status is None:
            self._exchange_over(ending)
            self._drop_client(reset)
        else:
            if verdict is not None:
                status = verdict.status
            elif status is None:
                status = 500 if cause is Cause.INTERNAL else STATUS[stage, cause]
            return self._answer(status, ending, reset, verdict)
        return None

    def _answer(
        self, status: int, ending: Ending, closes: bool, verdict: Deny | HttpVerdict | None = None
    ) -> Event | None:
        exchange = self.exchange
        request = None if exchange is None else exchange.request
        keeps = exchange is not None and exchange.request_done and exchange.client_keeps
        keeps = keeps and not (closes or self._last or self.process.stopping)
        if request is not None and request.method == b"CONNECT":
            keeps = False
        self.status = status
        answers = self._http.answers
        said = answers.error(status, request, keeps) if verdict is None else answers.verdict(verdict, request, keeps)
        self.client.write(said)
        self._exchange_over(ending)
        if keeps:
            self.advance(AGAIN)
        else:
            self._close_client(linger=True)
        return None

    def _abandon(self) -> None:
        """Give up what is under way towards a server."""
        if self.stage is Stage.QUEUE and self in self.backend.queue:
            self.backend.queue.remove(self)
            self.queue_ms = self._since(self._stage_since)
        elif self._connecting is not None:
            self._leave_connect()
        if self._questions is not None:
            self._questions.cancel()
            self._questions = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self.exchange is not None:
            self.exchange.drop_server()

    # The client

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        try:
            exchange = self.exchange
            if self._tunnel is not None:
                self._tunnel.client_data(data)
            elif exchange is not None:
                if not exchange.request_done and (exchange.connection is not None or self.stage is _BODY):
                    data = exchange.request_data(data)
                    if self.stage is _BODY and exchange.request_done:
                        self._peeked = data
                        self.advance(PASSED)
                        return
                    if not data:
                        return
                self._peeked = self._peeked + data if self._peeked else data
                if len(self._peeked) > PIPELINED_LIMIT:
                    self.client.pauseProducing()
            elif self._leaving is not None:
                self._leaving.heard()
            elif self.stage is _VALIDATION:
                self._head_data(data)
            else:
                super().dataReceived(data)
        except Exception:
            self.exchange_crashed()

    def _head_data(self, data: bytes) -> None:
        """Take a part of a request's head, or all of it, with whatever follows."""
        if self._peeked:
            data = self._peeked + data
        self._peeked = data
        begins = not self._begun
        if begins:
            if data in _BLANK:
                return  # an empty line is no request, and keeps nobody's connection open
            self._begun = True
            self._started = self.process.moment.now
        if self._blocked_since:
            self.client.pauseProducing()
        else:
            self.advance_if(self._read_head(begins and self.requests > 0))

    def advance_if(self, event: Event | None) -> None:
        """Walk on with ``event``, if there is one."""
        if event is not None:
            self.advance(event)

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``. Who has sent a whole request still gets its response."""
        exchange = self.exchange
        self._client_ended = True
        if self._tunnel is not None:
            self._tunnel.client_ended()
        elif self._closing:
            if self.client is not None:
                self.client.loseConnection()  # behind what is still to be sent
        elif exchange is None:
            if self.stage < _VALIDATION or not self._begun:
                if self.requests:
                    self._close_client()
                else:
                    self._client_left("left")
            elif not self._blocked_since:
                self._end(Cause.CLIENT, "left in the middle of a request", status=400)
        elif self.stage is Stage.TARPIT:
            self._client_left("left")
        elif not exchange.request_done:
            self._end(Cause.CLIENT, "left in the middle of a request", status=400)

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if self._tunnel is not None:
            self._tunnel.client_lost(reason)
        elif self._closing:
            self._connection_over()
        else:
            self._client_left(reason.getErrorMessage())

    def pauseProducing(self) -> None:
        """See ``IPushProducer``: the client takes no more for now."""
        self._blocked_since = self.process.moment.now
        self._blocked_left = undelivered(self.client)
        exchange = self.exchange
        if exchange is not None and exchange.connection is not None:
            exchange.connection.transport.pauseProducing()
            self._arm_sooner(self.frontend.timers.client)

    def resumeProducing(self) -> None:
        """See ``IPushProducer``: the client takes more again."""
        if not self._blocked_since:
            return
        self._blocked_since = 0.0
        exchange = self.exchange
        if exchange is not None:
            if exchange.connection is not None:
                exchange.last_server = self.process.moment.now  # it was us who did not read
                exchange.connection.transport.resumeProducing()
        elif self.stage is _VALIDATION and not self._closing:
            self.advance_if(self._next_head())

    def stopProducing(self) -> None:
        """See ``IPushProducer``; ``connectionLost`` says the same."""

    def _close_client(self, linger: bool = False) -> None:
        """Close when everything has been sent; ``linger``: the client may still be sending what nobody wants."""
        self._closing = True
        client = self.client
        self._leaving = Lingering(client, self.process.moment.now, self.frontend.timers.client)
        self._arm(LOOK_S)
        client.unregisterProducer()
        if linger and not self._client_ended and can_half_close(client):
            # Closed at once, what it sends now would be answered with a RST, which could undo our answer.
            client.loseWriteConnection()
            client.resumeProducing()
        else:
            client.loseConnection()

    def _drop_client(self, reset: bool = False) -> None:
        client = self.client
        self._closing = True
        if type(client) is Stream:
            client.unregisterProducer()
            client.drop(reset)
        else:
            client.unregisterProducer()
            hang_up(client)
        self._connection_over()

    def _record(self, ending: Ending) -> None:
        """Write the record of the current request."""
        frontend, process = self.frontend, self.process
        record = http_record_of(self, ending, process.clock.seconds() - self._started)
        if frontend.access_log is not None:
            try:
                frontend.access_log.write(record)
            except PluginError as error:
                process.blame(error, f"frontend {frontend.name}")
        for observer in frontend.observers:
            self._tell(observer.plugin, observer.object.request_closed, self.facts, record)

    def _finish(self, ending: Ending) -> None:
        """See ``Session``: ended before there could be a request."""
        self._exchange_over(ending)
        self._connection_over()

    def _connection_over(self) -> None:
        """The client's connection is closed; it ended as its last request did."""
        if self.stage is _ACCESS_LOG:
            return
        process, self.stage = self.process, _ACCESS_LOG
        if self.frontend.observers:
            record = record_of(self, self._last_ending, process.clock.seconds() - self._opened)
            for observer in self.frontend.observers:
                self._tell(observer.plugin, observer.object.session_closed, self.facts, record)
        process.wheel.disarm(self)
        own, self._own = self._own, None
        if own is not None:
            own.close()
        self.client = self._questions = self._leaving = self.facts.http = None
        for limit in self._limits:
            limit.give_back()
        process.session_ended(self)

    def wind_down(self) -> None:
        """See ``Mortal``."""
        if self.stage is _VALIDATION and not (self._begun or self._closing or self._blocked_since):
            if self.requests:
                self._close_client()
            else:
                self._arm(FIRST_WORD_S)

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """See ``Mortal``."""
        if self._tunnel is not None:
            self._tunnel.end(cause, reason)
        elif self._closing:
            self._drop_client(reset=True)
        else:
            self._end(cause, reason, reset=True)

    # Timers

    def _arm(self, delay_s: float | None) -> None:
        """Note the deadline; the wheel is told only if it would look too late."""
        if delay_s is None:
            self._deadline = inf
            return
        process = self.process
        now = process.moment.now
        deadline = self._deadline = now + delay_s
        if deadline < self._due:
            self._due = deadline
            process.wheel.arm(self, delay_s, now)

    def _arm_sooner(self, delay_s: float | None) -> None:
        """As ``_arm``, unless the deadline there is comes first."""
        if delay_s is not None and self.process.moment.now + delay_s < self._deadline:
            self._arm(delay_s)

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        self._due = inf
        if self._deadline > now:
            if self._deadline < inf:
                self._due = self._deadline
                self.process.wheel.arm(self, self._deadline - now, now)
            return
        stage = self.stage
        if self._leaving is not None:
            delay_s = self._leaving.again_in(now)
            if delay_s is None:
                self._drop_client()
            else:
                self._arm(delay_s)
        elif stage is _RESPONSE or stage is _RELAY:
            self._look(now)
        elif stage is Stage.TARPIT:
            assert self._sentence is not None
            self._end(Cause.PROXY, self._sentence.reason, verdict=self._sentence)
        elif stage is _BODY:
            self._deadline = inf
            self._await_body(now)
        elif stage is _VALIDATION:
            if self._blocked_since:
                self._look_at_reader(now)
            elif not (self._begun or self.requests) and self.process.stopping:
                self._end(Cause.KILLED, "the process stops")
            elif self._begun or not self.requests:
                self._end(Cause.CLIENT_TIMEOUT, "no whole request within timeouts.http_request")
            else:
                self._close_client()
        else:
            super().timer_due(now)

    def _look(self, now: float) -> None:
        """Whether the side of the exchange whose turn it is has been idle for too long.

        A client that takes nothing is timed by that alone, as it is us who do not read the server then. Else it is up
        to the client while its request is not whole and the server takes it, and up to the server otherwise.
        Source: HAProxy, sc_strm.h, and ``timeout server`` in configuration.txt.
        """
        exchange = self.exchange
        assert exchange is not None
        client_s, server_s = self.frontend.timers.client, self.backend.timers.server
        since = max(exchange.last_server, exchange.last_client)
        if self._blocked_since:
            since, timeout_s, cause = self._took_until(now), client_s, Cause.CLIENT_TIMEOUT
        elif exchange.request_done or exchange.full:
            since, timeout_s, cause = max(since, exchange.took_until(now)), server_s, Cause.SERVER_TIMEOUT
        else:
            timeout_s, cause = client_s, Cause.CLIENT_TIMEOUT
        if timeout_s is not None and since + timeout_s <= now:
            self._end(cause, "idle for too long")
            return
        # Whose turn it is can change at any moment, without anybody arming anything.
        self._arm(self._shortest(self.backend))
        if timeout_s is not None:
            self._arm_sooner(since + timeout_s - now)
        self._fast_enough(exchange, now)

    def _shortest(self, backend: Backend) -> float | None:
        """After how many seconds a side of an exchange can be idle for too long at the earliest."""
        client_s, server_s = self.frontend.timers.client, backend.timers.server
        if client_s is None or (server_s is not None and server_s < client_s):
            return server_s
        return client_s

    def _took_until(self, now: float) -> float:
        """When the client last took something of what waits for it; looked at now and then, so rather late."""
        left = undelivered(self.client)
        if left < self._blocked_left:
            self._blocked_left, self._blocked_since = left, now
        return self._blocked_since

    def _look_at_reader(self, now: float) -> None:
        """Whether a client between two requests still takes what it was answered before."""
        client_s = self.frontend.timers.client
        if client_s is None:
            return
        waits_s = self._took_until(now) + client_s - now
        if waits_s > 0:
            self._arm(waits_s)
        else:
            self._drop_client(reset=True)

    @property
    def bytes_in(self) -> int:
        """How many bytes the current request had, as far as they were read; in the end those of all requests."""
        if self.stage is _ACCESS_LOG:
            return self._total_in
        return len(self._peeked) if self.exchange is None else self.exchange.bytes_in

    @property
    def bytes_out(self) -> int:
        """How many bytes the client was sent of the current response; in the end those of all responses."""
        if self.stage is _ACCESS_LOG:
            return self._total_out
        return 0 if self.exchange is None else self.exchange.bytes_out


_UNANSWERED = {Cause.CLIENT, Cause.KILLED}
"""Who is gone, or has to go at once, is not answered."""
_OF_THE_SERVER = {Cause.SERVER, Cause.SERVER_TIMEOUT, Cause.PROXY}
_EVIDENT = {Framing.LENGTH, Framing.CHUNKED}
"""With these a client sees by itself that a body was cut short; else only a RST tells it from a whole one."""

HttpSession._steps = steps_of(HttpSession, HTTP_TRANSITIONS)


def _way(policies: bool, bodies: bool) -> Steps:
    """Work out the steps where a stage has nothing to do, and need not be entered, for any request of a frontend."""
    idle = {stage for stage, busy in ((Stage.POLICY, policies), (Stage.BODY, bodies)) if not busy}
    steps = [dict(step) for step in HttpSession._steps]
    for step in steps:
        for event, (stage, enter) in step.items():
            while stage in idle:
                stage, enter = HttpSession._steps[stage][PASSED]
            step[event] = stage, enter
    return steps


_WAYS = {(policies, bodies): _way(policies, bodies) for policies in (False, True) for bodies in (False, True)}
"""By whether policies are asked for each request, and whether bodies are looked at."""
