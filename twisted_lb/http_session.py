"""HTTP mode: one exchange after the other, each with its own walk from validation to the access log.

``walk.HTTP_TRANSITIONS`` is the order. Here requests are read and judged; what follows stands in the layers below. The
messages themselves are the business of ``stages.http_exchange``.
"""

from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.http_responses import HttpResponses
from twisted_lb.stages.body_exchange import BodyExchange
from twisted_lb.stages.body_rate import BodyRate
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.throttle_exchange import ShapedExchange
from twisted_lb.stages.validation import validate
from twisted_lb.verdicts import Answer, Decision, Deny, NeedMore, Redirect
from twisted_lb.walk import AGAIN, PASSED, Event
from twisted_lb.wire.http1 import BLANK, Framing, Http1Error, RequestHead, parse_request

# Looking a member up on its Enum is a call of a Python function on 3.11.
_NONE = Framing.NONE


class HttpSession(HttpResponses):
    """A session of a frontend in HTTP mode."""

    __slots__ = ()

    # Validation: a request's head

    def _enter_validation(self) -> Event | None:
        timers = self.frontend.timers
        if not self._producing:
            self._producing = True
            self._of_connection = self.facts.priority, self.facts.backend, self.facts.shaping
            asked = self._asked if self._questions is None else self._questions.asked
            self._let_in = asked >= len(self.frontend.policies)
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
        self._questions, self._asked = None, frontend.at_admission
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
