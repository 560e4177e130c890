"""One connection's walk through the stages, in the order that ``walk`` knows.

Whatever a stage has to wait for calls ``advance`` when it is there. What TCP mode does with the stages that depend on
the protocol stands in ``tcp_session``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.pool import Server
from twisted_lb.endings import Cause, Ending, Stage
from twisted_lb.errors import PluginError, WireError, shown
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend, Refusal
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.parting import Farewell, part
from twisted_lb.process import Process
from twisted_lb.stages.access_log import record_of
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.answers import with_last_words
from twisted_lb.stages.connect import Connecting, ServerProtocol
from twisted_lb.stages.policy import Questions, past_rules
from twisted_lb.stages.proxy_header import Reception, Trust
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.validator import PEEK_LIMIT
from twisted_lb.verdicts import Allow, Decision, Deny, NeedMore, Tarpit
from twisted_lb.walk import ENDED, FULL, LATER, PASSED, TRANSITIONS, Event, way

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed


# Looking a member up on its Enum is a call of a Python function on 3.11.
_ACCEPT, _PROXY_HEADER, _POLICY, _BALANCE = Stage.ACCEPT, Stage.PROXY_HEADER, Stage.POLICY, Stage.BALANCE
_DIRECT, _REFUSED = Trust.DIRECT, Trust.REFUSED


@implementer(IHalfCloseableProtocol)
class Session:
    """The protocol of one client's transport, from accept to the access log, but for what depends on the mode.

    ``timer_slot`` belongs to the timer wheel: there is at most one deadline at a time, that of the current stage.
    """

    __slots__ = (
        "_asked",
        "_client_ended",
        "_connecting",
        "_limits",
        "_peeked",
        "_preface",
        "_questions",
        "_reception",
        "_relay",
        "_sentence",
        "_server_transport",
        "_stage_since",
        "_started",
        "_way",
        "backend",
        "client",
        "connect_ms",
        "facts",
        "frontend",
        "process",
        "queue_ms",
        "queued_behind",
        "redispatched",
        "retries",
        "server",
        "stage",
        "timer_slot",
    )

    _log = Logger()
    transitions: ClassVar[Mapping[tuple[Stage, Event], Stage]] = TRANSITIONS

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        client: Any,
        facts: Facts,
        reception: Reception | None = None,
    ) -> None:
        self.process = process
        self.frontend = frontend
        self.backend = frontend.backend
        self.client = client
        self.facts = facts
        self.server: Server | None = None
        self.stage = _ACCEPT
        self.timer_slot: set[Timed] | None = None
        empty = frontend.empty_stages if reception is None else frontend.empty_behind_proxies
        self._way = way(type(self), empty)  # type: ignore[arg-type]
        self._limits = limits
        self._reception = reception
        self._asked = 0
        self._questions: Questions | None = None
        self._peeked = self._preface = b""
        self._client_ended = False
        self._relay: StreamRelay | TransportRelay | None = None
        self._connecting: Connecting | None = None
        self._server_transport: Stream | ServerProtocol | None = None
        self.retries = 0
        self.redispatched = False
        self.queued_behind = 0
        self.queue_ms = self.connect_ms = -1
        self._started = self._stage_since = process.moment.now

    def start(self) -> None:
        """Begin the walk; the client's transport is paused."""
        for limit in self._limits:
            limit.count += 1
        self.process.sessions.add(self)
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.session_opened, self.facts)
        self.advance(PASSED)

    def advance(self, event: Event | None) -> None:
        """Leave the current stage with ``event`` and walk on until a stage has to wait."""
        while event is not None:
            self.stage, enter = self._way[self.stage][event]
            try:
                event = enter(self)
            except Exception:
                self._log.failure("a defect in stage {stage}; the connection is ended", stage=self.stage.name.lower())
                self.kill("a defect", Cause.INTERNAL)
                return

    # Admission, PROXY header, policy

    def _enter_admission(self) -> Event | None:
        if self._reception is not None:
            return PASSED  # policies judge the client, and who that is only the header says
        return self._ask_policies(self.frontend.at_admission)

    def _enter_proxy_header(self) -> Event | None:
        reception = self._reception
        if reception is None:
            return PASSED
        trust = reception.expects(self.facts.source.host)
        if trust is _DIRECT:
            return self._ask_policies(self.frontend.at_admission)
        if trust is _REFUSED:
            return self._end(Cause.PROXY, "source is not in accept_proxy.from", reset=True)
        self._arm(reception.timeout_s)
        self.client.resumeProducing()
        return None

    def _look_for_header(self) -> None:
        """Let the reception look at what the client sent so far; a header is refused at its first wrong byte."""
        assert self._reception is not None
        try:
            verdict, used = self._reception.take(self._peeked, self.facts)
        except PluginError as error:
            self._end_blaming(error)
            return
        match verdict:
            case NeedMore():
                return
            case Deny(reason):
                self.process.complain(f"frontend {self.frontend.name}", f"{self.facts.peer}: {reason}")
                self._end(Cause.PROXY, reason, reset=True)
            case _:
                self._peeked = self._peeked[used:]
                self.client.pauseProducing()
                self.advance(self._ask_policies(self.frontend.at_admission))

    def _enter_validation(self) -> Event | None:
        raise NotImplementedError

    def _enter_policy(self) -> Event | None:
        frontend = self.frontend
        if frontend.policies:
            return self._ask_policies(len(frontend.policies))
        return self._route()

    def _route(self) -> Event | None:
        """Choose the backend: what a policy has set, what the routes say, or the frontend's own."""
        frontend = self.frontend
        routing = frontend.routing
        if routing is None or (routing.routes is None and self.facts.backend is None):
            return PASSED
        try:
            target = routing.target(self.facts, frontend.backend)
        except WireError as error:
            target = Refusal(error.reason, 400)
        if isinstance(target, Refusal):
            return self._turn_away(target)
        self.backend = target
        return PASSED

    def _turn_away(self, refusal: Refusal) -> Event | None:
        return self._end(Cause.PROXY, refusal.reason, verdict=with_last_words(Deny(refusal.reason), self.facts))

    def _ask_policies(self, until: int) -> Event | None:
        """Ask the policies before ``until``. ``_asked`` have let it on before there were ``_questions``."""
        if self._questions is None:
            asked = self._asked
            if asked < until:
                asked = self._asked = past_rules(self.frontend.policies, self.facts, asked)
            if asked >= until:
                return self._let_on()
            self._questions = self._ask_from(asked)
        try:
            outcome = self._questions.ask(until)
        except PluginError as error:
            return self._end_blaming(error)
        if outcome is None:
            self._arm(self.frontend.timers.policy)
            return None
        return self._judge(outcome)

    def _let_on(self) -> Event | None:
        return self._route() if self.stage is _POLICY else PASSED

    def _ask_from(self, first: int) -> Questions:
        frontend = self.frontend
        assert frontend.routing is not None
        return Questions(self, frontend.policies, self.facts, first, frontend.routing.backends)

    def _judge(self, outcome: Decision) -> Event | None:
        if isinstance(outcome, Allow):
            return self._let_on()
        assert self._questions is not None
        reason = self._questions.refusal(outcome)
        if isinstance(outcome, Tarpit):
            self._sentence = replace(outcome, reason=reason)
            return LATER
        assert isinstance(outcome, Deny)
        verdict = with_last_words(outcome, self.facts)
        return self._end(Cause.PROXY, reason, reset=self.stage <= Stage.PROXY_HEADER, verdict=verdict)

    def _enter_tarpit(self) -> Event | None:
        """Hold the connection. A stream of ours tells of a client that leaves also while nothing is read from it."""
        self._arm(self.frontend.timers.tarpit)
        if type(self.client) is not Stream:
            self.client.resumeProducing()
        return None

    def policies_answered(self, outcome: Decision | PluginError | None) -> None:
        """See ``PolicyOwner``."""
        if outcome is None:
            self._arm(self.frontend.timers.policy)
        elif isinstance(outcome, PluginError):
            self._end_blaming(outcome)
        else:
            self.advance(self._judge(outcome))

    # Balance, queue

    def _enter_balance(self) -> Event | None:
        backend = self.backend
        backend.load.connections += 1
        try:
            self.server = backend.choose(self.facts)
        except PluginError as error:
            return self._end_blaming(error)
        if self.server is not None:
            self.queue_ms = 0
            return PASSED
        if backend.usable:
            return FULL
        return self._end(Cause.SERVER, f"backend {backend.name} has no usable server")

    def _enter_queue(self) -> Event | None:
        backend = self.backend
        self.queued_behind = len(backend.queue)
        if backend.queue_full:
            return self._end(Cause.SERVER, f"backend {backend.name} is full, and so is its queue")
        backend.queue.append(self, self.facts.priority)
        self._stage_since = self.process.moment.now
        self._arm(backend.timers.queue)
        return None

    def slot_free(self, server: Server) -> None:
        """See ``Waiting``."""
        self.server = server
        self.queue_ms = self._since(self._stage_since)
        self.advance(PASSED)

    # Connect

    def _enter_connect(self) -> Event | None:
        assert self.server is not None
        process = self.process
        self._stage_since = process.moment.now
        said = self._peeked != b"" or self.facts.http is not None
        connecting = Connecting(self, self.backend, self.server, self.facts, process.poller, process.reactor, said)
        self._connecting = connecting
        connecting.start()
        return None

    def connect_within(self, delay_s: float | None) -> None:
        """See ``ConnectOwner``."""
        self._arm(delay_s)

    def open_already(self, server: Server) -> bool:
        """See ``ConnectOwner``."""
        return False

    def server_connected(self, transport: Stream | ServerProtocol) -> None:
        """See ``ConnectOwner``."""
        client = self.client
        if type(client) is Stream and client.fd < 0:
            # It was reset a moment ago, in the same batch of events, and we are about to be told.
            transport.drop(reset=True)
            return
        self._leave_connect()
        self._server_transport = transport
        assert self.server is not None
        sender = self.server.sender
        if sender is not None:
            try:
                self._preface = sender.preface(self.facts)
            except PluginError as error:
                self._end_blaming(error)
                return
        self.advance(PASSED)

    def server_unreachable(self, cause: Cause, reason: str) -> None:
        """See ``ConnectOwner``."""
        self._end(cause, reason)

    def balancer_failed(self, error: PluginError) -> None:
        """See ``ConnectOwner``."""
        self._end_blaming(error)

    def _leave_connect(self) -> None:
        connecting, self._connecting = self._connecting, None
        assert connecting is not None
        self.server = connecting.server
        self.retries = connecting.retries
        self.redispatched = connecting.redispatched
        self.connect_ms = self._since(self._stage_since)

    def _enter_relay(self) -> Event | None:
        raise NotImplementedError

    # The client's transport

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``. Begins nothing: whoever accepted the connection calls ``start``."""
        transport.pauseProducing()
        self.client = transport

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        self._peeked += data
        if self._reading_header():
            self._look_for_header()
        elif self.stage is Stage.TARPIT and len(self._peeked) > PEEK_LIMIT:
            self.client.pauseProducing()  # nobody wants it

    def _reading_header(self) -> bool:
        # Policies are asked in this stage too, once the header has been taken.
        return self.stage is _PROXY_HEADER and self._questions is None

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        self._client_left("left")

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``; it was we who closed that half."""

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        self._client_left(reason.getErrorMessage())

    def _client_left(self, reason: str) -> None:
        self._end(Cause.CLIENT, reason)

    # Timers

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        match self.stage:
            case Stage.CONNECT:
                assert self._connecting is not None
                self._connecting.due()
            case Stage.QUEUE:
                self._end(Cause.SERVER_TIMEOUT, "no slot within timeouts.queue")
            case Stage.TARPIT:
                self._end(Cause.PROXY, self._sentence.reason)
            case Stage.PROXY_HEADER if self._questions is None:
                self._end(Cause.CLIENT_TIMEOUT, "no whole PROXY header within accept_proxy.timeout")
            case _:
                assert self._questions is not None
                self._end_blaming(self._questions.overrun())

    def _arm(self, delay_s: float | None) -> None:
        if delay_s is None:
            self.process.wheel.disarm(self)
        else:
            process = self.process
            process.wheel.arm(self, delay_s, process.moment.now)

    # Endings

    def wind_down(self) -> None:
        """See ``Mortal``; a connection whose bytes nobody understands is under way until it ends."""

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """See ``Mortal``."""
        self._end(cause, reason, reset=True)

    def _end_blaming(self, error: PluginError) -> Event | None:
        self.process.blame(error, f"frontend {self.frontend.name}")
        return self._end(Cause.INTERNAL, error.what, plugin=error.plugin, reset=self.stage is Stage.ADMISSION)

    def _end(
        self, cause: Cause, reason: str, plugin: str = "", reset: bool = False, *, verdict: Deny | None = None
    ) -> Event | None:
        """End before the relay: drop what is under way towards the server and close the client's connection.

        ``verdict``: it may want that done in a way of its own.
        """
        if self.stage is Stage.ACCESS_LOG:
            return None
        stage = self.stage
        if stage is Stage.QUEUE and self in self.backend.queue:
            self.backend.queue.remove(self)
            self.queue_ms = self._since(self._stage_since)
        elif self._connecting is not None:
            self._connecting.cancel()
            self._leave_connect()
        if self._questions is not None:
            self._questions.cancel()
        server_transport, self._server_transport = self._server_transport, None
        if server_transport is not None:
            server_transport.drop()
        ending = Ending(cause, stage, reason, plugin)
        client = self.client
        if verdict is not None and (verdict.farewell or verdict.how is not None):
            self._part(ending, verdict)
            return None
        if type(client) is Stream:
            client.drop(reset)
        elif reset or ISSLTransport.providedBy(client):
            hang_up(client)
        else:
            client.loseConnection()
        self._finish(ending)
        return None

    def _part(self, ending: Ending, verdict: Deny) -> None:
        """End as ``verdict`` wants it: the client may stay for a while to hear the last words, without this session."""
        client = self.client
        if not part(client, verdict, heard=self.bytes_in > 0):
            self._finish(ending)
            return
        limits, self._limits = self._limits, ()
        farewell = Farewell(self.process, limits, client)
        self._finish(ending)
        self.client = farewell
        farewell.say(verdict.farewell)

    def _finish(self, ending: Ending) -> None:
        process = self.process
        before, self.stage = self.stage, TRANSITIONS[self.stage, ENDED]
        process.wheel.disarm(self)
        if self.frontend.recorded:
            try:
                self._record(ending)
            except Exception:
                self._log.failure("a record is lost")
        if self.facts.tracking is not None:
            self.facts.tracking.ended(ending, self.bytes_in, self.bytes_out)
        # They refer to this session: without this all would live until the garbage collector comes by.
        self.client = self._questions = None
        self._leave_backend(before)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.forget()
        for limit in self._limits:
            limit.count -= 1  # as ``give_back``, without a call
            if limit.waiting:
                limit.wake_next()
        process.session_ended(self)

    def _leave_backend(self, stage: Stage) -> None:
        """Give back what was taken of the backend up to ``stage``."""
        if stage >= _BALANCE:
            self.backend.load.connections -= 1
        server = self.server
        if server is not None:
            self.backend.give_back(server)

    @property
    def bytes_in(self) -> int:
        """How many bytes the client sent, as far as they were read."""
        return len(self._peeked)

    @property
    def bytes_out(self) -> int:
        """How many bytes the server sent, as far as they were read."""
        return 0

    def _record(self, ending: Ending) -> None:
        frontend = self.frontend
        record = record_of(self, ending, self.process.clock.seconds() - self._started)
        if frontend.access_log is not None:
            try:
                frontend.access_log.write(record)
            except PluginError as error:
                self.process.blame(error, f"frontend {frontend.name}")
        for observer in frontend.observers:
            self._tell(observer.plugin, observer.object.session_closed, self.facts, record)

    def _tell(self, plugin: str, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            what = f"raised {shown(error)} in {getattr(call, '__name__', call)}"
            self.process.blame(PluginError(plugin, what), f"frontend {self.frontend.name}")

    def _since(self, moment: float) -> int:
        return int((self.process.moment.now - moment) * 1000)
