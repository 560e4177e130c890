"""TCP mode: what a session does with bytes that it need not understand.

A frontend's validators look at the first of them; then they are relayed, socket to socket where both ends are ours.
"""

from dataclasses import replace
from math import inf
from typing import Any

from twisted.python.failure import Failure

from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.net.stream import Stream
from twisted_lb.session import Session
from twisted_lb.stages.connect import ServerProtocol
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_timers import RefusedError
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.throttle import throttle_streams
from twisted_lb.stages.throttle_transports import throttle_transports
from twisted_lb.stages.validation import Inspection
from twisted_lb.stages.watch import watch
from twisted_lb.verdicts import ALLOW, Deny, NeedMore, Verdict
from twisted_lb.walk import PASSED, Event

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _RELAY, _ACCESS_LOG, _NORMAL = Stage.VALIDATION, Stage.RELAY, Stage.ACCESS_LOG, Cause.NORMAL
_RESET = Deny("", how="reset")


class TcpSession(Session):
    """A session of a frontend in TCP mode."""

    __slots__ = ("_inspection", "_peek_at_least")

    # Validation

    def _enter_validation(self) -> Event | None:
        frontend = self.frontend
        self._inspection = Inspection(frontend.validators, self.facts)
        if not (frontend.waits or self._peeked):
            self._inspection.skip()
            return PASSED
        self._peek_at_least = 0
        self._arm(frontend.timers.inspect)
        self.client.resumeProducing()
        if self._peeked:
            self._look()
        return None

    def _look(self) -> None:
        """Let the validators look at what the client sent so far."""
        try:
            verdict = self._inspection.look(self._peeked)
        except PluginError as error:
            self._end_blaming(error)
            return
        self._inspected(verdict)

    def _inspected(self, verdict: Verdict) -> None:
        if verdict is not ALLOW:
            if isinstance(verdict, Deny):
                self._end(Cause.PROXY, verdict.reason, verdict=verdict)
                return
            if isinstance(verdict, NeedMore):
                self._peek_at_least = verdict.at_least
                return
        self.client.pauseProducing()
        self.advance(PASSED)

    def _inspect_expired(self) -> None:
        """The client has said too little, or nothing: who takes that, and who must not be asked any more?"""
        try:
            verdict = self._inspection.expire(self._peeked, self.frontend.lets_undecided)
        except PluginError as error:
            self._end_blaming(error)
            return
        if isinstance(verdict, NeedMore):
            self._end(Cause.CLIENT_TIMEOUT, "too little said within timeouts.inspect")
        else:
            self._inspected(verdict)

    # Relay

    def _enter_relay(self) -> Event | None:
        process, client, server = self.process, self.client, self.server
        attempt = self._server_transport
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.session_routed, self.facts, self.backend.name, server)
        peeked, self._peeked = self._peeked, b""
        now = process.moment.now
        if not self.frontend.idle_to(self.backend).outlast_connect:
            self._watch_relay()
        # Else the deadline for connecting, no longer due, is as good a moment for the first look.
        if type(client) is Stream and type(attempt) is Stream:
            client.poller.now = now
            stream_relay = self._relay = StreamRelay(self, client, attempt)
            if self.facts.shaping is not None:
                throttle_streams(stream_relay, self.facts.shaping, process.wheel)
            if self.frontend.watchers == () or self._watch(stream_relay):
                stream_relay.start(self._preface, peeked, client.reported, attempt.reported)
        else:
            self._start_transport_relay(attempt, peeked)
        self._server_transport = None
        return None

    def _start_transport_relay(self, attempt: Any, peeked: bytes) -> None:
        protocol = attempt
        if isinstance(attempt, Stream):
            protocol = ServerProtocol()
            attempt.attach(protocol, half_close=True)
            protocol.makeConnection(attempt)  # type: ignore[no-untyped-call]
        relay = self._relay = TransportRelay(self, self.process.clock, self.client, protocol.transport)
        if self.frontend.watchers != () and not self._watch(relay):
            return
        if self.facts.shaping is not None:
            throttle_transports(relay, self.facts.shaping, self.process.wheel)
        protocol.relay_through(relay.server)
        relay.start(self._preface, peeked)
        if self._client_ended and self._relay is relay:
            relay.client.end_of_stream()

    def _watch(self, relay: StreamRelay | TransportRelay) -> bool:
        """Ask the validators whether they want to see what passes; returns whether the connection goes on."""
        watchers = self.frontend.watchers
        try:
            watch(relay, self, self._inspection.watching() if watchers is None else watchers, self.facts, self._preface)
        except PluginError as error:
            relay.refuse(RefusedError(error, self.relay_refused))
            return False
        return True

    def _watch_relay(self) -> None:
        """Look again in as long as a side may be idle at least."""
        shortest_s = self.frontend.idle_to(self.backend).shortest
        self._arm(None if shortest_s == inf else shortest_s)

    def _relay_due(self, now: float) -> None:
        assert self._relay is not None
        delay_s = self._relay.look(now, self.frontend.idle_to(self.backend))
        if delay_s is not None:
            self._arm(delay_s)

    def relay_half_closed(self) -> None:
        """See ``RelayOwner``."""
        if self.frontend.idle_to(self.backend).hurries:
            self._watch_relay()

    def relay_ended(self, cause: Cause, reason: str) -> None:
        """See ``RelayOwner``."""
        self._finish(NORMAL if cause is _NORMAL else Ending(cause, _RELAY, reason))

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``WatchOwner``."""
        client, relay, verdict = self.client, self._relay, refused.verdict
        if isinstance(relay, StreamRelay):
            client.regain(relay.client.writable_watched)
        if isinstance(verdict, PluginError):
            self.process.blame(verdict, f"frontend {self.frontend.name}")
            ending = Ending(Cause.INTERNAL, _RELAY, verdict.what, verdict.plugin)
            self._part(ending, _RESET)
            return
        if not whole or not (verdict.farewell or verdict.how is not None):
            # Who has a part of what it was to get must not take that for all.
            verdict = replace(verdict, how="drop" if verdict.how == "drop" else "reset")
        self._part(Ending(Cause.PROXY, _RELAY, verdict.reason), verdict)

    # The client's transport, up to the relay; over other transports than ours also during it.

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if self.stage is _VALIDATION:
            self._peeked += data
            if len(self._peeked) >= self._peek_at_least:
                self._look()
        elif isinstance(self._relay, TransportRelay):
            self._relay.client.data(data)
        elif self.stage is not _ACCESS_LOG:
            super().dataReceived(data)
        elif self.client is not None:
            self.client.dataReceived(data)  # its farewell

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``. Before the relay, whoever ends without having said a thing has left."""
        if isinstance(self._relay, TransportRelay):
            self._relay.client.end_of_stream()
        elif self.stage is _ACCESS_LOG:
            if self.client is not None:
                self.client.readConnectionLost()
        elif self.stage is _VALIDATION or self.stage is Stage.TARPIT or self._reading_header() or not self._peeked:
            self._client_left("left")
        else:
            self._client_ended = True

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        if isinstance(self._relay, TransportRelay):
            self._relay.client.lost(reason)
        elif self.stage is _ACCESS_LOG:
            if self.client is not None:
                self.client.connectionLost(reason)
        else:
            self._client_left(reason.getErrorMessage())

    # Timers, endings

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        if self.stage is _RELAY:
            self._relay_due(now)
        elif self.stage is _VALIDATION:
            self._inspect_expired()
        else:
            super().timer_due(now)

    def kill(self, reason: str, cause: Cause = Cause.KILLED) -> None:
        """See ``Mortal``."""
        if self._relay is not None:
            self._relay.end(cause, reason)
        else:
            super().kill(reason, cause)

    @property
    def bytes_in(self) -> int:
        """How many bytes the client sent, as far as they were read."""
        return len(self._peeked) if self._relay is None else self._relay.client.bytes_in

    @property
    def bytes_out(self) -> int:
        """How many bytes the server sent, as far as they were read."""
        return 0 if self._relay is None else self._relay.server.bytes_in
