"""The client's side of HTTP mode: what it sends and takes, when it is waited for, and how its connection is closed."""

from dataclasses import replace
from math import inf
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.backends.idle import Idle
from twisted_lb.backends.pool import Backend
from twisted_lb.endings import Cause, Stage
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend
from twisted_lb.http_records import HttpRecords
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.body_rate import BodyRate
from twisted_lb.stages.lingering import LOOK_S, Lingering, undelivered
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.stages.relay_transports import can_half_close
from twisted_lb.stages.tunnel import Tunnel
from twisted_lb.token_bucket import Shaping
from twisted_lb.verdicts import Deny, HttpVerdict
from twisted_lb.walk import HTTP_TRANSITIONS, PASSED, Event
from twisted_lb.wire.http1 import Forwarder

PIPELINED_LIMIT = 64 * 1024
"""Bytes of further requests that are read at most while one is being answered."""
FIRST_WORD_S = 1.0
"""How long a client that has just connected may still ask when the process is stopping: it may be about to."""

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _BODY = Stage.VALIDATION, Stage.BODY


@implementer(IPushProducer)
class HttpClient(HttpRecords):
    """A session of a frontend in HTTP mode, as far as the client's connection goes."""

    __slots__ = (
        "_blocked_left",
        "_blocked_since",
        "_closing",
        "_connection",
        "_deadline",
        "_due",
        "_forwarder",
        "_home",
        "_http",
        "_known",
        "_let_in",
        "_next",
        "_of_connection",
        "_producing",
        "_rate",
        "_shortest_s",
        "_tunnel",
        "_walking",
    )
    transitions = HTTP_TRANSITIONS

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
        assert frontend.http is not None
        self._http = frontend.http
        self._connection: ServerConnection | None = None
        self._forwarder: tuple[Backend, Forwarder] | None = None
        self._home: Idle | None = None
        self._of_connection: tuple[int, str | None, Shaping | None] = (0, None, None)
        self._let_in = False
        self._deadline = self._due = inf
        self._blocked_since = 0.0
        self._blocked_left = 0
        self._client_ended = self._closing = self._producing = self._walking = False
        self._next: Event | None = None
        self._tunnel: Tunnel | None = None
        self._rate: BodyRate | None = None
        self._shortest_s: float | None = None
        """After how many seconds a side of an exchange can be idle for too long at the earliest."""
        self._known: dict[str, Any] | None = None

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

    def advance_if(self, event: Event | None) -> None:
        """Walk on with ``event``, if there is one."""
        if event is not None:
            self.advance(event)

    @property
    def _last(self) -> bool:
        """Whether the client can send no request behind the current one."""
        return self._client_ended and not self._peeked

    # What the client's transport says

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        try:
            exchange = self.exchange
            if self._tunnel is not None:
                self._tunnel.client_data(data)
            elif exchange is not None:
                if not exchange.request_done and (exchange.connection is not None or self.stage is _BODY):
                    data = exchange.request_data(data)
                    if self._shaped is not None:
                        self._shaped.client_said()
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
                self._unwanted(data)
            elif self.stage is _VALIDATION:
                self._head_data(data)
            else:
                super().dataReceived(data)
        except Exception:
            self.exchange_crashed()

    def exchange_crashed(self) -> None:
        """See ``ExchangeOwner``."""
        self._log.failure("a defect in stage {stage}; the connection is ended", stage=self.stage.name.lower())
        self.kill("a defect", Cause.INTERNAL)

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
        elif not exchange.request_done and (exchange.connection is not None or not exchange.ends_within(self._peeked)):
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
                if self._shaped is None or not self._shaped.holds_server:
                    exchange.connection.transport.resumeProducing()
        elif self.stage is _VALIDATION and self._leaving is None and not self._closing:
            self.advance_if(self._next_head())

    def stopProducing(self) -> None:
        """See ``IPushProducer``; ``connectionLost`` says the same."""

    @property
    def client_full(self) -> bool:
        """Whether the client takes no more for now, and the server is not read because of that."""
        return self._blocked_since > 0

    # The end of its connection

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

    def wind_down(self) -> None:
        """See ``Mortal``."""
        if self.stage is _VALIDATION and not (self._begun or self._closing or self._blocked_since):
            if self.requests:
                self._close_client(linger=self._leaving is not None)
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

    # Deadlines

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

    def _wait_for_request(self) -> None:
        self._arm(self.frontend.timers.http_keep_alive)
        self.client.resumeProducing()

    # What the layers above add

    def _end(
        self,
        cause: Cause,
        reason: str,
        plugin: str = "",
        reset: bool = False,
        status: int | None = None,
        verdict: Deny | HttpVerdict | None = None,
    ) -> Event | None:
        """End the current request; before there can be one, the connection, and then without a farewell."""
        if not isinstance(verdict, Deny) or self.stage is Stage.TARPIT:
            return super()._end(cause, reason, plugin, reset)
        return super()._end(cause, reason, plugin, reset, verdict=replace(verdict, farewell=b""))

    def _head_data(self, data: bytes) -> None:
        """Take a part of a request's head, or all of it, with whatever follows."""
        raise NotImplementedError

    def _unwanted(self, data: bytes) -> None:
        """The client goes on sending what nobody waits for."""
        raise NotImplementedError

    def _next_head(self) -> Event | None:
        """Go on with the request of which the beginning is here, or wait for one."""
        raise NotImplementedError
