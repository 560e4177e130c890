"""HTTP mode's express way: a plain request that comes whole, and a plain response that comes whole.

Most exchanges of a frontend that only forwards are such: two heads in which there is nothing to decide
(``wire.http1_plain``), a server's connection that waits for them, and nobody who looks on. They need none of what an
exchange may need, so none of it is made. What is under way is the request's bytes and the connection that carried
them; whatever else happens before the response is here first makes the exchange of it that it would have been
(``_unfold``), and goes on as usual.

Which sessions may take this way is settled at start-up; docs/decisions/0011-express-way.md has what it brings.
"""

import re
from math import inf
from typing import Any, NamedTuple

from twisted.python.failure import Failure

from twisted_lb.backends.pool import Server
from twisted_lb.endings import NORMAL, Cause, Stage
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend
from twisted_lb.http_session import HttpSession
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.walk import AGAIN, PASSED, Event
from twisted_lb.wire.http1 import Http1Settings, RequestHead, parse_request
from twisted_lb.wire.http1_plain import PLAIN_ANSWER, PLAIN_GET
from twisted_lb.wire.http1_target import read_authority

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _RESPONSE, _RELAY = Stage.VALIDATION, Stage.RESPONSE, Stage.RELAY


def may_take_it(frontend: Frontend) -> bool:
    """Whether plain exchanges of this frontend need no more than forwarding and a line in the access log."""
    http, backend = frontend.http, frontend.backend
    if http is None or http.bodies is not None or http.monitor_uri is not None or http.parsing.odd_names != "preserve":
        return False
    asked_per_request = frontend.at_admission < len(frontend.policies)
    routed = frontend.routing is not None and frontend.routing.routes is not None
    # Requests are counted in tables for connections that were tracked when they were accepted.
    counted = any(getattr(policy.object, "counts_requests", False) for policy in frontend.policies)
    if frontend.validators or frontend.observers or asked_per_request or routed or counted:
        return False
    return backend.blind and not backend.http.server_close


class Asked(NamedTuple):
    """What a record says of a request that took this way; as ``RequestHead``."""

    target: bytes
    host: bytes
    method: bytes = b"GET"
    version: bytes = b"1.1"


class ExpressSession(HttpSession):
    """A session of a frontend that ``may_take_it``, over streams of ours; see ``Asker`` for the server's side.

    ``_sent``: the request that is under way on the express way; empty if none is. ``_short``: a shorter head than that
    breaks no limit. ``_barred``: what a policy wants for this connection has no place here. ``_chosen``: what the
    balancer has answered, for the usual way to go on with. ``_noted``: bytes read and sent of the exchange that is
    being recorded.
    """

    __slots__ = (
        "_barred",
        "_chosen",
        "_end_of_head",
        "_host",
        "_idle_s",
        "_keep_alive_s",
        "_name",
        "_noted",
        "_sent",
        "_short",
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
        self._sent = self._end_of_head = self._name = b""
        self._noted: tuple[int, int] | None = None
        self._host: bytes | None = None
        self._chosen: Server | PluginError | None = None
        self._keep_alive_s = self._idle_s = inf
        self._short = 0
        self._barred = False

    # The way there

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if self._sent:
            self._unfold()
        elif (
            self.stage is _VALIDATION
            and not (self._peeked or self._blocked_since or self._barred)
            and self._leaving is None
        ):
            match = PLAIN_GET.fullmatch(data)
            if match is not None and (match[1] == self._host or self._know(match[1])):
                try:
                    if (len(data) < self._short or _fits(self._http.parsing, data)) and self._depart(data, match):
                        return
                except Exception:
                    self.exchange_crashed()
                    return
        super().dataReceived(data)

    def _know(self, host: bytes) -> bool:
        """Work out what is constant for requests to ``host``; returns whether they can take this way."""
        facts = self.facts
        self._barred = facts.backend is not None or facts.shaping is not None or facts.tracking is not None
        authority = read_authority(host.lower())
        if self._barred or authority is None:
            return False
        end = self._forwarder_to(self.backend).plain_end(authority.text)
        if end is None:
            return False
        self._host = host
        self._name = authority.host
        self._end_of_head = end + b"\r\n" if end else b""
        limits = self._http.parsing, self.backend.http.parsing
        self._short = min(min(4 * (2 + limit.max_fields), limit.max_head_bytes) for limit in limits)
        keep_alive_s = self.frontend.timers.http_keep_alive
        self._idle_s = inf if self._shortest_s is None else self._shortest_s
        self._keep_alive_s = inf if keep_alive_s is None else keep_alive_s
        return True

    def _depart(self, data: bytes, match: re.Match[bytes]) -> bool:
        """Send the request. Returns whether it is under way, or dealt with otherwise."""
        process, backend = self.process, self.backend
        if process.stopping or self._own is not None:
            return False
        try:
            server = backend.choose(self.facts)
        except PluginError as error:
            self._chosen = error
            super().dataReceived(data)
            return True
        if server is None:
            return False
        idle = server.idle
        connection = idle.take() if idle is not None and idle.common else None
        if connection is not None:
            transport = connection.transport
            if type(transport) is Stream and transport.poller.whole:
                connection.asked_in = transport.poller.batch  # as ``may_be_asked`` would
            elif not connection.may_be_asked(replayable=True):
                connection.close()
                connection = None
        if connection is None:
            self._chosen = server
            super().dataReceived(data)
            return True
        backend.load.connections += 1
        self.requests += 1
        self.server = server
        self.stage = _RESPONSE
        now = self._started = self._stage_since = process.moment.now
        self._connection = connection
        self._sent = data
        connection.asker = self
        connection.used += 1
        if match.lastindex == 2:
            start, stop = match.span(2)
            data = b"%b%b%b" % (data[:start], data[stop:-2], self._end_of_head or b"\r\n")
        elif self._end_of_head:
            data = data[:-2] + self._end_of_head
        connection.transport.write(data)
        deadline = self._deadline = now + self._idle_s
        if deadline < self._due:
            self._arm(self._idle_s)
        return True

    def _enter_balance(self) -> Event | None:
        chosen, self._chosen = self._chosen, None
        if chosen is None:
            return super()._enter_balance()
        self.backend.load.connections += 1
        if isinstance(chosen, PluginError):
            return self._end_blaming(chosen)
        self.server = chosen
        self.queue_ms = 0
        return PASSED

    # The way back

    def response_data(self, data: bytes) -> None:
        """See ``Asker``. Long, as each call of a smaller function would be felt per request."""
        try:
            process, backend = self.process, self.backend
            match = PLAIN_ANSWER.match(data)
            if match is None or process.stopping:
                self._unfold().response_data(data)
                return
            end = match.end()
            if end + int(match[1]) != len(data) or (end >= self._short and not _fits(backend.http.parsing, data[:end])):
                self._unfold().response_data(data)
                return
            server, connection = self.server, self._connection
            assert server is not None
            assert connection is not None
            sent, self._sent = self._sent, b""
            self._total_in += len(sent)
            self._connection = connection.asker = None
            if match.lastindex == 2:
                start, stop = match.span(2)
                data = data[:start] + data[stop:]
            self._total_out += len(data)
            self.client.write(data)
            now = process.moment.now
            idle = connection.home
            if idle is not None and idle is server.idle:
                idle.put(connection, now)
            else:
                connection.close()
            if self.frontend.recorded:
                self._note(sent, data[9:12], len(data))
            self.server = None
            backend.load.connections -= 1
            backend.give_back(server)
            if self._blocked_since:
                self.stage = _RELAY
                self.advance(AGAIN)
                return
            self.stage = _VALIDATION
            deadline = self._deadline = now + self._keep_alive_s
            if deadline < self._due:
                self._arm(self._keep_alive_s)
        except Exception:
            self.exchange_crashed()

    def _note(self, sent: bytes, code: bytes, answered: int) -> None:
        """Write the record of an exchange: ``sent`` was answered with ``answered`` bytes."""
        self.status = int(code)
        self.response_ms = int((self.process.moment.now - self._stage_since) * 1000)
        self.request_ms = self.queue_ms = self.connect_ms = self.retries = self.queued_behind = 0
        self.redispatched = False
        self._noted = len(sent), answered
        self.facts.http = Asked(sent[4 : sent.index(b" ", 4)], self._name)
        try:
            self._record(NORMAL)
        except Exception:
            self._log.failure("a record is lost")
        self._noted = self.facts.http = None

    @property
    def bytes_in(self) -> int:
        """See ``HttpRecords``."""
        return super().bytes_in if self._noted is None else self._noted[0]

    @property
    def bytes_out(self) -> int:
        """See ``HttpRecords``."""
        return super().bytes_out if self._noted is None else self._noted[1]

    # Whatever else happens

    def _unfold(self) -> Any:
        """Make an ordinary exchange of what is under way, and return it."""
        sent, self._sent = self._sent, b""
        connection, self._connection = self._connection, None
        server, asked_at = self.server, self._stage_since
        assert connection is not None
        head = parse_request(sent, 0, self._http.parsing)
        assert isinstance(head, RequestHead)
        self.requests -= 1
        self._begin(head)
        self.server = server
        self.request_ms = self.queue_ms = self.connect_ms = 0
        exchange = self.exchange
        assert exchange is not None
        exchange.last_client = asked_at
        exchange.take_up(connection, self._forwarder_to(self.backend), self.backend.http.parsing, asked_at)
        return exchange

    def server_ended(self, reason: str, clean: bool) -> None:
        """See ``Asker``."""
        self._unfold().server_ended(reason, clean)

    def server_full(self) -> None:
        """See ``Asker``."""
        self._unfold().server_full()

    def server_drained(self) -> None:
        """See ``Asker``."""
        self._unfold().server_drained()

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        if self._sent:
            self._unfold()
        super().readConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if self._sent:
            self._unfold()
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        if self._sent:
            self._unfold()
        super().pauseProducing()

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        if self._sent:
            self._unfold()
        super().timer_due(now)

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """See ``Mortal``."""
        if self._sent:
            self._unfold()
        super().kill(reason, cause)


def _fits(settings: Http1Settings, head: bytes) -> bool:
    """As ``Http1Settings.allows``, in less time: browsers send more than ``_short``."""
    return len(head) <= settings.max_head_bytes and head.count(b"\n") <= settings.max_fields + 2
