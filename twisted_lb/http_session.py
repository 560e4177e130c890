"""HTTP mode: one exchange after the other, each with its own walk from validation to the access log.

``walk.HTTP_TRANSITIONS`` is the order. The messages themselves are the business of ``stages.http_exchange``.
"""

from math import inf

from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.http_bodies import HttpBodies
from twisted_lb.http_client import BLANK
from twisted_lb.stages.body_exchange import BodyExchange
from twisted_lb.stages.body_rate import BodyRate
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.throttle_exchange import ShapedExchange
from twisted_lb.stages.tunnel import Tunnel
from twisted_lb.stages.validation import validate
from twisted_lb.verdicts import Answer, Decision, Deny, NeedMore, Redirect
from twisted_lb.walk import AGAIN, HTTP_TRANSITIONS, PASSED, RETRY, Event, Steps, steps_of
from twisted_lb.wire.http1 import Framing, Http1Error, RequestHead, parse_request
from twisted_lb.wire.http1_authentication import authenticates_connection, challenges_connection

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _BODY = Stage.VALIDATION, Stage.BODY
_RESPONSE, _RELAY, _NONE = Stage.RESPONSE, Stage.RELAY, Framing.NONE


class HttpSession(HttpBodies):
    """A session of a frontend in HTTP mode."""

    __slots__ = ()

    # Validation: a request's head

    def _enter_validation(self) -> Event | None:
        timers = self.frontend.timers
        if not self._producing:
            self._producing = True
            self._of_connection = self.facts.priority, self.facts.backend, self.facts.shaping
            self._let_in = self._questions is not None and self._questions.all_passed
            self.client.registerProducer(self, True)
            self.client.resumeProducing()
            self._arm(timers.http_request)
            self._begun = self._peeked not in BLANK
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
            self._wait_for_request()
        return None

    def _wait_for_request(self) -> None:
        self._arm(self.frontend.timers.http_keep_alive)
        self.client.resumeProducing()

    def _read_head(self, begins: bool = False) -> Event | None:
        """Begin an exchange if a whole head has come. ``begins``: these are its first bytes."""
        data = self._peeked
        try:
            head = parse_request(data, 0, self._http.parsing)
        except Http1Error as error:
            return self._refuse(error, data)
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
        if self._client_ended and self._cut_short():
            return self._end(Cause.CLIENT, "left in the middle of a request", status=400)
        return self._validate(head) if self.frontend.validators else PASSED

    def _cut_short(self) -> bool:
        """Whether the body of the request that has just begun cannot become whole any more."""
        exchange = self.exchange
        assert exchange is not None
        return not exchange.request_done and not exchange.ends_within(self._peeked)

    def _validate(self, head: RequestHead) -> Event | None:
        """Show the frontend's validators a request's head."""
        facts = self.facts
        self._forget_request()
        try:
            verdict = validate(self.frontend.validators, head.raw, facts)
        except PluginError as error:
            return self._end_blaming(error)
        match verdict:
            case Deny(reason):
                return self._end(Cause.PROXY, reason, verdict=verdict)
            case NeedMore():
                return self._end(Cause.PROXY, "a validator is undecided about a whole head")
            case _:
                return PASSED

    def _forget_request(self) -> None:
        """Know of this request what is known of its connection, and nothing that was learnt of the one before."""
        learnt, known = self.facts.learnt, self._known
        if known is None:
            self._known = dict(learnt)
        elif learnt or known:
            learnt.clear()
            learnt.update(known)

    def _answer_monitor(self, head: RequestHead) -> Event | None:
        """Tell a load balancer in front whether to send clients here; as with HAProxy, no policy asks and no log says.

        Source: HAProxy configuration.txt, "monitor-uri" and "monitor fail".
        """
        self.requests += 1
        self._started = self.process.moment.now
        self._begun = self._peeked not in BLANK
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
        if self.facts.tracking is not None:
            self.facts.tracking.request_begun()
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
        if self._let_in or frontend.at_admission == len(frontend.policies):
            return self._route()
        facts = self.facts  # not what was set for the request before
        facts.priority, facts.backend, facts.shaping = self._of_connection
        if not frontend.validators:
            self._forget_request()
        self._questions = self._ask_from(frontend.at_admission)
        return self._ask_policies(len(frontend.policies))

    def _judge(self, outcome: Decision) -> Event | None:
        if isinstance(outcome, Answer | Redirect):
            assert self._questions is not None
            return self._end(Cause.LOCAL, self._questions.refusal(outcome), verdict=outcome)
        return super()._judge(outcome)

    def _enter_tarpit(self) -> Event | None:
        if self.exchange is None:
            return super()._enter_tarpit()
        self._arm(self.frontend.timers.tarpit)
        self.client.resumeProducing()  # else nobody would know that it has left
        return None

    def _route(self) -> Event | None:
        if self.facts.shaping is not None and self.exchange is not None:
            self._shaped = ShapedExchange(self, self.exchange, self.facts.shaping)
        return super()._route()

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
            if self._begun or self._walking or self._blocked_since or self._client_ended or self.process.stopping:
                self.advance(AGAIN)
            else:
                self.stage = _VALIDATION  # the usual case, for which nothing need be entered: wait
                self._wait_for_request()
        else:
            self._close_client(linger=not whole or exchange.request.keep_alive)

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

    def _head_data(self, data: bytes) -> None:
        """Take a part of a request's head, or all of it, with whatever follows."""
        if self._peeked:
            data = self._peeked + data
        self._peeked = data
        begins = not self._begun
        if begins:
            if data in BLANK:
                return  # an empty line is no request, and keeps nobody's connection open
            self._begun = True
            self._started = self.process.moment.now
        if self._blocked_since:
            self.client.pauseProducing()
        else:
            self.advance_if(self._read_head(begins and self.requests > 0))

    # Timers

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
        elif stage is Stage.TARPIT and self.exchange is not None:
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
        if self._shaped is not None:
            self._shaped.excuse(now)
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
        self._arm(self._shortest_s)
        if timeout_s is not None:
            self._arm_sooner(since + timeout_s - now)
        self._fast_enough(exchange, now)


def settle_steps(session_class: type[HttpSession]) -> None:
    """Work out the steps of a kind of session; a stage in which a frontend has nothing to do is not entered."""
    steps = session_class._steps = steps_of(session_class, HTTP_TRANSITIONS)
    session_class._ways = {
        (policies, bodies): _way(steps, policies, bodies) for policies in (False, True) for bodies in (False, True)
    }


def _way(steps: Steps, policies: bool, bodies: bool) -> Steps:
    idle = {stage for stage, busy in ((Stage.POLICY, policies), (Stage.BODY, bodies)) if not busy}
    way = [dict(step) for step in steps]
    for step in way:
        for event, (stage, enter) in step.items():
            while stage in idle:
                stage, enter = steps[stage][PASSED]
            step[event] = stage, enter
    return way


settle_steps(HttpSession)
