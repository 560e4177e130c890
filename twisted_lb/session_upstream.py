"""A session's way to a server: chosen, waited for, connected to."""

from twisted_lb.backends.pool import Server
from twisted_lb.endings import Cause, Stage
from twisted_lb.errors import PluginError
from twisted_lb.net.stream import Stream
from twisted_lb.session_policies import SessionPolicies
from twisted_lb.stages.connect import Connecting, ServerProtocol
from twisted_lb.walk import FULL, PASSED, Event


class SessionUpstream(SessionPolicies):
    """Balance, queue, connect."""

    __slots__ = ()

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

    def _abandon(self) -> None:
        if self.stage is Stage.QUEUE and self in self.backend.queue:
            self.backend.queue.remove(self)
            self.queue_ms = self._since(self._stage_since)
        elif self._connecting is not None:
            self._connecting.cancel()
            self._leave_connect()
        server_transport, self._server_transport = self._server_transport, None
        if server_transport is not None:
            server_transport.drop()

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        if self.stage is Stage.CONNECT:
            assert self._connecting is not None
            self._connecting.due()
        elif self.stage is Stage.QUEUE:
            self._end(Cause.SERVER_TIMEOUT, "no slot within timeouts.queue")
        else:
            super().timer_due(now)
