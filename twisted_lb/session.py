"""One connection's walk through the stages; the only file that knows their order.

``TRANSITIONS`` is that order. A stage answers its entry with an event, or with ``None`` when it has to wait (whatever
it waits for then calls ``advance``) or has ended the connection.
"""

import time
from collections.abc import Callable
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import SessionRecord
from twisted_lb.backends.pool import Server
from twisted_lb.backends.target import SocketTarget
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.frontend import Frontend
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.connect import (
    TURN_AROUND_S,
    EndpointAttempt,
    ServerProtocol,
    connect_stream,
    endpoint_of,
    retry_elsewhere,
)
from twisted_lb.stages.policy import decide, settle
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.validation import validate
from twisted_lb.verdicts import Deny, NeedMore

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed


class Event(IntEnum):
    """What a stage says when it is done with a connection."""

    PASSED = 0
    FULL = 1
    """Every usable server has all the connections that it may have."""
    ENDED = 2


TRANSITIONS: Final[dict[tuple[Stage, Event], Stage]] = {
    (Stage.ACCEPT, Event.PASSED): Stage.ADMISSION,
    (Stage.ADMISSION, Event.PASSED): Stage.VALIDATION,
    (Stage.ADMISSION, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.VALIDATION, Event.PASSED): Stage.POLICY,
    (Stage.VALIDATION, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.POLICY, Event.PASSED): Stage.BALANCE,
    (Stage.POLICY, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.BALANCE, Event.PASSED): Stage.CONNECT,
    (Stage.BALANCE, Event.FULL): Stage.QUEUE,
    (Stage.BALANCE, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.QUEUE, Event.PASSED): Stage.CONNECT,
    (Stage.QUEUE, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.CONNECT, Event.PASSED): Stage.RELAY,
    (Stage.CONNECT, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.RELAY, Event.ENDED): Stage.ACCESS_LOG,
}
"""From which stage which event leads where; what is not here cannot happen."""


@implementer(IHalfCloseableProtocol)
class Session:
    """The protocol of one client's transport, from accept to the access log.

    ``timer_slot`` belongs to the timer wheel: there is at most one deadline at a time, that of the current stage.
    """

    __slots__ = (
        "_asked",
        "_attempt",
        "_client_ended",
        "_connect_ms",
        "_limits",
        "_peeked",
        "_queue_ms",
        "_queued_behind",
        "_redispatched",
        "_relay",
        "_retries",
        "_stage_since",
        "_started",
        "_waiting_on",
        "backend",
        "client",
        "facts",
        "frontend",
        "process",
        "server",
        "stage",
        "timer_slot",
    )

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        client: Any,
        facts: Facts,
    ) -> None:
        self.process = process
        self.frontend = frontend
        self.backend = frontend.backend
        self.client = client
        self.facts = facts
        self.server: Server | None = None
        self.stage = Stage.ACCEPT
        self.timer_slot: set[Timed] | None = None
        self._limits = limits
        self._asked = 0
        self._waiting_on: Deferred[Any] | None = None
        self._peeked = b""
        self._client_ended = False
        self._attempt: Stream | EndpointAttempt | ServerProtocol | None = None
        self._relay: StreamRelay | TransportRelay | None = None
        self._retries = 0
        self._redispatched = False
        self._queued_behind = 0
        self._queue_ms = self._connect_ms = -1
        self._started = self._stage_since = process.clock.seconds()

    def start(self) -> None:
        """Begin the walk; the client's transport is paused."""
        for limit in self._limits:
            limit.count += 1
        self.process.sessions.add(self)
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.session_opened, self.facts)
        self.advance(Event.PASSED)

    def advance(self, event: Event | None) -> None:
        """Leave the current stage with ``event`` and walk on until a stage has to wait."""
        while event is not None:
            self.stage, enter = _STEPS[self.stage][event]
            event = enter(self)

    # Admission, validation, policy

    def _enter_admission(self) -> Event | None:
        return self._ask_policies(self.frontend.at_admission)

    def _enter_validation(self) -> Event | None:
        if not self.frontend.validators:
            return Event.PASSED
        self._arm(self.frontend.timers.inspect)
        self.client.resumeProducing()
        return None

    def _validate(self) -> None:
        try:
            verdict = validate(self.frontend.validators, self._peeked, self.facts)
        except PluginError as error:
            self._end_blaming(error)
            return
        match verdict:
            case NeedMore():
                return
            case Deny(reason):
                self._end(Cause.PROXY, reason)
            case _:
                self.client.pauseProducing()
                self.advance(Event.PASSED)

    def _enter_policy(self) -> Event | None:
        return self._ask_policies(len(self.frontend.policies))

    def _ask_policies(self, until: int) -> Event | None:
        policies = self.frontend.policies
        while self._asked < until:
            policy = policies[self._asked]
            try:
                answer = decide(policy, self.facts)
            except PluginError as error:
                return self._end_blaming(error)
            if isinstance(answer, Deferred):
                self._waiting_on = answer
                self._arm(self.frontend.timers.policy)
                answer.addBoth(self._policy_answered, answer)
                return None
            if isinstance(answer, Deny):
                return self._end(Cause.PROXY, answer.reason, reset=self.stage is Stage.ADMISSION)
            self._asked += 1
        return Event.PASSED

    def _policy_answered(self, result: Any, deferred: "Deferred[Any]") -> None:
        if self._waiting_on is not deferred:
            return  # too late: the connection has ended
        self._waiting_on = None
        try:
            answer = settle(self.frontend.policies[self._asked], result)
        except PluginError as error:
            self._end_blaming(error)
            return
        if isinstance(answer, Deny):
            self._end(Cause.PROXY, answer.reason, reset=self.stage is Stage.ADMISSION)
            return
        self._asked += 1
        until = self.frontend.at_admission if self.stage is Stage.ADMISSION else len(self.frontend.policies)
        self.advance(self._ask_policies(until))

    # Balance, queue

    def _enter_balance(self) -> Event | None:
        backend = self.backend
        backend.connections += 1
        try:
            self.server = backend.choose(self.facts)
        except PluginError as error:
            return self._end_blaming(error)
        if self.server is not None:
            self._queue_ms = 0
            return Event.PASSED
        if backend.usable:
            return Event.FULL
        return self._end(Cause.SERVER, f"backend {backend.name} has no usable server")

    def _enter_queue(self) -> Event | None:
        self._queued_behind = len(self.backend.queue)
        self.backend.queue.append(self)
        self._stage_since = self.process.clock.seconds()
        self._arm(self.backend.timers.queue)
        return None

    def slot_free(self, server: Server) -> None:
        """See ``Waiting``."""
        self.server = server
        self._queue_ms = self._since(self._stage_since)
        self.advance(Event.PASSED)

    # Connect

    def _enter_connect(self) -> Event | None:
        self._stage_since = self.process.clock.seconds()
        return self._connect()

    def _connect(self) -> Event | None:
        assert self.server is not None
        target = self.server.target
        self._arm(self.backend.timers.connect)
        if not isinstance(target, SocketTarget):
            self._attempt = EndpointAttempt(target.endpoint, self)
            return None
        sockaddr = target.sockaddr_for(self.facts.destination.port)
        if sockaddr is None:
            port = self.facts.destination.port
            return self._end(Cause.RESOURCE, f"port {port}{target.port_offset:+d} of the server is outside 1..65535")
        poller = self.process.poller
        if poller is None:
            self._attempt = EndpointAttempt(endpoint_of(self.process.reactor, target, sockaddr), self)
            return None
        try:
            self._attempt = connect_stream(poller, target, sockaddr, self)
        except OSError as error:
            return self._end(Cause.RESOURCE, f"no socket for the server: {error.strerror}")
        return None

    def stream_connected(self, stream: Stream) -> None:
        """See ``ConnectWaiter``."""
        self.advance(Event.PASSED)

    def transport_connected(self, protocol: ServerProtocol) -> None:
        """See ``connect.Waiter``."""
        self._attempt = protocol
        self.advance(Event.PASSED)

    def stream_failed(self, stream: Stream, error: OSError) -> None:
        """See ``ConnectWaiter``."""
        self._retry(Cause.SERVER, error.strerror or "")

    def transport_failed(self, reason: Failure) -> None:
        """See ``connect.Waiter``."""
        self._retry(Cause.SERVER, reason.getErrorMessage())

    def _retry(self, cause: Cause, reason: str) -> None:
        server, backend = self.server, self.backend
        assert server is not None
        self._attempt = None
        server.failures += 1
        if self._retries >= backend.retries:
            self._end(cause, f"server {server.name}: {reason}")
            return
        self._retries += 1
        if retry_elsewhere(self._retries, backend.retries, backend.redispatch):
            try:
                other = backend.choose(self.facts, besides=server)
            except PluginError as error:
                self._end_blaming(error)
                return
            if other is not None and other is not server:
                self.server = other
                self._redispatched = True
                backend.give_back(server)
                self.advance(self._connect())
                return
            if other is not None:
                backend.give_back(other)
        connect_s = backend.timers.connect
        self._arm(TURN_AROUND_S if connect_s is None else min(TURN_AROUND_S, connect_s))

    def _connect_due(self) -> None:
        if self._attempt is None:
            self.advance(self._connect())
            return
        self._drop_attempt()
        self._retry(Cause.SERVER_TIMEOUT, "no answer within timeouts.connect")

    def _drop_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if isinstance(attempt, ServerProtocol):
            attempt.abort()
        elif attempt is not None:
            attempt.drop()

    # Relay

    def _enter_relay(self) -> Event | None:
        process, client, attempt, server = self.process, self.client, self._attempt, self.server
        assert server is not None
        self._attempt = None
        self._connect_ms = self._since(self._stage_since)
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.session_routed, self.facts, self.backend.name, server)
        peeked, self._peeked = self._peeked, b""
        now = process.clock.seconds()
        connect_s = self.backend.timers.connect
        if connect_s is None or connect_s > self.frontend.idle.shortest:
            self._watch_relay(now)
        # Else the deadline for connecting, no longer due, is as good a moment for the first look.
        if type(client) is Stream and type(attempt) is Stream:
            client.poller.now = now
            stream_relay = self._relay = StreamRelay(self, client, attempt)
            stream_relay.start(peeked, client.reported, attempt.reported)
        else:
            self._start_transport_relay(attempt, peeked)
        return None

    def _start_transport_relay(self, attempt: Any, peeked: bytes) -> None:
        protocol = attempt
        if isinstance(attempt, Stream):
            protocol = ServerProtocol()
            attempt.attach(protocol, half_close=True)
            protocol.makeConnection(attempt)  # type: ignore[no-untyped-call]
        relay = self._relay = TransportRelay(self, self.process.clock, self.client, protocol.transport)
        relay.start(peeked)
        protocol.relay_through(relay.server)
        if self._client_ended and self._relay is relay:
            relay.client.end_of_stream()

    def _watch_relay(self, now: float) -> None:
        """Look again in as long as a side may be idle at least.

        What keeps a timer from running can end at any moment without anybody being told, so no look is later than that.
        """
        shortest_s = self.frontend.idle.shortest
        if shortest_s < inf:
            self.process.wheel.arm(self, shortest_s, now)
        else:
            self.process.wheel.disarm(self)

    def _relay_due(self, now: float) -> None:
        relay, idle = self._relay, self.frontend.idle
        assert relay is not None
        deadline = relay.next_deadline(idle)
        if deadline is None:
            self._watch_relay(now)
        elif deadline[0] <= now:
            relay.end(deadline[1], "idle for too long")
        else:
            self.process.wheel.arm(self, min(deadline[0] - now, idle.shortest), now)

    def relay_half_closed(self) -> None:
        """See ``RelayOwner``."""
        idle = self.frontend.idle
        if idle.client_fin < idle.client or idle.server_fin < idle.server:
            self._watch_relay(self.process.clock.seconds())

    def relay_ended(self, cause: Cause, reason: str) -> None:
        """See ``RelayOwner``."""
        self._finish(NORMAL if cause is Cause.NORMAL else Ending(cause, Stage.RELAY, reason))

    # The client's transport, up to the relay; over other transports than ours also during it.

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``. Begins nothing: whoever accepted the connection calls ``start``."""
        transport.pauseProducing()
        self.client = transport

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if isinstance(self._relay, TransportRelay):
            self._relay.client.data(data)
            return
        self._peeked += data
        if self.stage is Stage.VALIDATION:
            self._validate()

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``. Before the relay, whoever ends without having said a thing has left."""
        if isinstance(self._relay, TransportRelay):
            self._relay.client.end_of_stream()
        elif self.stage is Stage.VALIDATION or not self._peeked:
            self._client_left("left")
        else:
            self._client_ended = True

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``; it was we who closed that half."""

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if isinstance(self._relay, TransportRelay):
            self._relay.client.lost(reason)
        else:
            self._client_left(reason.getErrorMessage())

    def _client_left(self, reason: str) -> None:
        self._end(Cause.CLIENT, reason)

    # Timers

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        match self.stage:
            case Stage.RELAY:
                self._relay_due(now)
            case Stage.CONNECT:
                self._connect_due()
            case Stage.QUEUE:
                self._end(Cause.SERVER_TIMEOUT, "no slot within timeouts.queue")
            case Stage.VALIDATION:
                self._end(Cause.CLIENT_TIMEOUT, "too little said within timeouts.inspect")
            case _:
                policy = self.frontend.policies[self._asked]
                what = f"policy {policy.name!r} did not answer within timeouts.policy"
                self._end_blaming(PluginError(policy.plugin, what))

    def _arm(self, delay_s: float | None) -> None:
        if delay_s is None:
            self.process.wheel.disarm(self)
        else:
            self.process.wheel.arm(self, delay_s, self.process.clock.seconds())

    # Endings

    def kill(self, reason: str) -> None:
        """See ``Mortal``."""
        if self._relay is not None:
            self._relay.end(Cause.KILLED, reason)
        else:
            self._end(Cause.KILLED, reason, reset=True)

    def _end_blaming(self, error: PluginError) -> Event | None:
        self.process.blame(error, f"frontend {self.frontend.name}")
        return self._end(Cause.INTERNAL, error.what, plugin=error.plugin, reset=self.stage is Stage.ADMISSION)

    def _end(self, cause: Cause, reason: str, plugin: str = "", reset: bool = False) -> Event | None:
        """End before the relay: drop what is under way towards the server and close the client's connection."""
        if self.stage is Stage.ACCESS_LOG:
            return None
        stage = self.stage
        if stage is Stage.QUEUE and self in self.backend.queue:
            self.backend.queue.remove(self)
            self._queue_ms = self._since(self._stage_since)
        elif stage is Stage.CONNECT:
            self._connect_ms = self._since(self._stage_since)
        waiting, self._waiting_on = self._waiting_on, None
        if waiting is not None:
            waiting.addErrback(lambda _: None)
            waiting.cancel()
        self._drop_attempt()
        client = self.client
        if type(client) is Stream:
            client.drop(reset)
        elif reset and hasattr(client, "abortConnection"):
            client.abortConnection()
        else:
            client.loseConnection()
        self._finish(Ending(cause, stage, reason, plugin))
        return None

    def _finish(self, ending: Ending) -> None:
        process = self.process
        reached_backend = self.stage >= Stage.BALANCE
        self.stage = TRANSITIONS[self.stage, Event.ENDED]
        process.wheel.disarm(self)
        if self.frontend.recorded:
            self._record(ending)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.forget()
        self.client = None
        if reached_backend:
            self.backend.connections -= 1
        server = self.server
        if server is not None:
            self.backend.give_back(server)
        for limit in self._limits:
            limit.give_back()
        process.session_ended(self)

    def _record(self, ending: Ending) -> None:
        record = self._make_record(ending)
        frontend = self.frontend
        if frontend.access_log is not None:
            try:
                frontend.access_log.write(record)
            except PluginError as error:
                self.process.blame(error, f"frontend {frontend.name}")
        for observer in frontend.observers:
            self._tell(observer.plugin, observer.object.session_closed, self.facts, record)

    def _make_record(self, ending: Ending) -> SessionRecord:
        facts, server, relay = self.facts, self.server, self._relay
        total = self.process.clock.seconds() - self._started
        source, destination = facts.source, facts.destination
        return SessionRecord(
            time=time.time() - total,
            source=source.host,
            source_port=source.port,
            destination=destination.host,
            destination_port=destination.port,
            frontend=facts.frontend,
            bind=facts.bind,
            backend=self.backend.name,
            server="<NOSRV>" if server is None else server.name,
            queue_ms=self._queue_ms,
            connect_ms=self._connect_ms,
            total_ms=int(total * 1000),
            bytes_in=len(self._peeked) if relay is None else relay.client.bytes_in,
            bytes_out=0 if relay is None else relay.server.bytes_in,
            ending=ending.code,
            stage=ending.stage.name.lower(),
            reason=ending.reason,
            plugin=ending.plugin,
            process_connections=self.process.limit.count,
            frontend_connections=self.frontend.limit.count,
            backend_connections=self.backend.connections,
            server_connections=0 if server is None else server.connections,
            retries=self._retries,
            redispatched=self._redispatched,
            server_queue=0,
            backend_queue=self._queued_behind,
        )

    def _tell(self, plugin: str, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            what = f"raised {error!r} in {getattr(call, '__name__', call)}"
            self.process.blame(PluginError(plugin, what), f"frontend {self.frontend.name}")

    def _since(self, moment: float) -> int:
        return int((self.process.clock.seconds() - moment) * 1000)


class EndpointSession(Session):
    """A session whose client came through a Twisted endpoint.

    ``arrived(session)``: called with the client's transport paused, to ``start`` it now or when there is room.
    """

    __slots__ = ("_arrived",)

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        facts: Facts,
        arrived: "Callable[[EndpointSession], None]",
    ) -> None:
        super().__init__(process, frontend, limits, None, facts)
        self._arrived = arrived

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``."""
        super().makeConnection(transport)
        self.facts.destination = SocketAddress.from_address(transport.getHost())
        self._arrived(self)

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if self.stage is Stage.ACCEPT:
            self.client = None  # it left while it waited for room
        else:
            super().connectionLost(reason)


_ENTER: dict[Stage, Callable[[Session], Event | None]] = {
    Stage.ADMISSION: Session._enter_admission,
    Stage.VALIDATION: Session._enter_validation,
    Stage.POLICY: Session._enter_policy,
    Stage.BALANCE: Session._enter_balance,
    Stage.QUEUE: Session._enter_queue,
    Stage.CONNECT: Session._enter_connect,
    Stage.RELAY: Session._enter_relay,
}
# The same as TRANSITIONS and _ENTER, in the form that is looked up seven times per connection.
_STEPS: list[dict[Event, tuple[Stage, Callable[[Session], Event | None]]]] = [
    {
        event: (to_stage, _ENTER[to_stage])
        for (from_stage, event), to_stage in TRANSITIONS.items()
        if from_stage is stage and to_stage in _ENTER
    }
    for stage in Stage
]
