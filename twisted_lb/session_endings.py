"""What a session has, how it goes on from stage to stage, and how it ends: once, with all given back, and told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger

from twisted_lb.backends.pool import Server
from twisted_lb.endings import Cause, Ending, Stage
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.parting import Farewell, part
from twisted_lb.process import Process
from twisted_lb.stages.access_log import record_of
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.connect import Connecting, ServerProtocol
from twisted_lb.stages.policy import Questions
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.verdicts import Deny
from twisted_lb.walk import ENDED, TRANSITIONS, Event, way

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed

# Looking a member up on its Enum is a call of a Python function on 3.11.
_ACCEPT, _BALANCE = Stage.ACCEPT, Stage.BALANCE


class SessionEndings:
    """All that a session keeps, and what every stage of it may do.

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

    # Deadlines

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        raise NotImplementedError

    def _arm(self, delay_s: float | None) -> None:
        if delay_s is None:
            self.process.wheel.disarm(self)
        else:
            process = self.process
            # By the clock: a plugin that has just kept everybody waiting must not have used this time up.
            process.wheel.arm(self, delay_s, process.clock.seconds())

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
        self._abandon()
        if self._questions is not None:
            self._questions.cancel()
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

    def _abandon(self) -> None:
        """Give up what is under way towards a server."""
        raise NotImplementedError

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
