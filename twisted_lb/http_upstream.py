"""HTTP mode's way to a server: a connection that is open already, or a new one."""

from typing import Any

from twisted.internet.interfaces import ISSLTransport

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.backends.idle import Idle, Own
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.errors import PluginError
from twisted_lb.http_client import HttpClient
from twisted_lb.net.stream import Stream
from twisted_lb.walk import PASSED, Event
from twisted_lb.wire.http1 import Forwarder


class HttpUpstream(HttpClient):
    """A session of a frontend in HTTP mode, as far as it finds, takes and gives back connections to servers."""

    __slots__ = ()

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

    # Connect

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
        request = exchange.request
        usual = request.plain and request.method == b"GET" and idle.common and self._own is None
        replayable = usual or exchange.replayable
        while True:
            connection = idle.take() if usual else None
            if self._own is not None:
                connection = self._own.take(idle, None if idle.key_of is None else idle.key_of(self.facts))
            if connection is None and not usual and not idle.private:
                plain = idle.key_of is None and (replayable or self.requests > 1)
                connection = idle.take() if plain else self._shared(idle, replayable)
            if connection is None or connection.may_be_asked(replayable):
                return connection
            connection.close()  # the server was faster

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

    def _forwarder_to(self, backend: Backend) -> Forwarder:
        if self._forwarder is not None and self._forwarder[0] is backend:
            return self._forwarder[1]
        forwarder = self._http.forwarder(backend, self.facts, ISSLTransport.providedBy(self.client))
        self._forwarder = backend, forwarder
        client_s, server_s = self.frontend.timers.client, backend.timers.server
        self._shortest_s = server_s if client_s is None or (server_s is not None and server_s < client_s) else client_s
        return forwarder

    # Afterwards

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

    def _abandon(self) -> None:
        super()._abandon()
        if self._questions is not None:
            self._questions.cancel()
            self._questions = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self.exchange is not None:
            self.exchange.drop_server()
