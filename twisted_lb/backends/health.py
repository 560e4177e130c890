"""Health checks: connect to each checked server every so often; what cannot be reached is not chosen.

A server begins up. ``fall`` failed checks in a row take it down, ``rise`` good ones in a row bring it up again; one
result to the contrary in between starts the count anew. Connections that it has when it goes down go on.
Source: HAProxy configuration.txt, "check", "inter", "rise", "fall", "timeout check", "check-send-proxy".
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.source import OutgoingError
from twisted_lb.backends.target import EndpointTarget, SocketTarget, Target, endpoint_of
from twisted_lb.contracts import IObserver
from twisted_lb.errors import PluginError, shown
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.plugin_host import Built


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a server is checked, and how many results in a row change its state. Seconds; all are above 0."""

    interval_s: float
    timeout_s: float
    rise: int
    fall: int


class Probe(Protocol):
    """One attempt: connect, say ``header``, close. Answers once, and not at all after ``drop``.

    ``answer(problem)``: ``None`` if the connection came about and took the header, else what went wrong.
    """

    _log = Logger()

    def __init__(self, header: bytes, answer: Callable[[str | None], None]) -> None:
        self._header = header
        self._answer: Callable[[str | None], None] | None = answer
        self._stream: Stream | None = None
        self._connecting: Deferred[Any] | None = None

    def start(self, target: Target, poller: Poller | None, reactor: Any, outgoing: Outgoing | None = None) -> None:
        """Begin; the answer may come before this returns."""
        if isinstance(target, EndpointTarget):
            self._start_endpoint(target.endpoint)
            return
        assert isinstance(target, SocketTarget), "a check has no client to follow"
        if outgoing is not None:
            assert poller is not None
            self._start_outgoing(poller, target, outgoing)
        elif poller is None:
            self._start_endpoint(endpoint_of(reactor, target, target.sockaddr))
        else:
            self._start_stream(poller, target)

    def _start_stream(self, poller: Poller, target: SocketTarget) -> None:
        try:
            sock = socket.SocketType(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._done(f"no socket for the check: {error.strerror}")
            return
        stream = self._stream = Stream(poller, sock)
        stream.connect(target.sockaddr, self)

    def _start_outgoing(self, poller: Poller, target: SocketTarget, outgoing: Outgoing) -> None:
        try:
            sock, code = outgoing.connect_check(target, bool(self._header))
        except OutgoingError as error:
            self._done(error.reason)
            return
        stream = self._stream = Stream(poller, sock)
        stream.connecting(code, self)

    def _start_endpoint(self, endpoint: Any) -> None:
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        self._connecting = maybeDeferred(endpoint.connect, factory)
        self._connecting.addErrback(lambda reason: self._done(reason.getErrorMessage()))

    def stream_connected(self, stream: Stream) -> None:
        """See ``ConnectWaiter``."""
        stream.attach(self, half_close=False)
        self.makeConnection(stream)  # type: ignore[no-untyped-call]

    def stream_failed(self, stream: Stream, error: OSError) -> None:
        """See ``ConnectWaiter``."""
        self._done(error.strerror or str(error))

    def connectionMade(self) -> None:
        """See ``IProtocol``."""
        assert self.transport is not None
        if self._answer is None:
            hang_up(self.transport)
            return
        if self._header:
            self.transport.write(self._header)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``. How a connection ends on which nothing was to be said does not matter."""
        lost = self._header and not reason.check(ConnectionDone)
        self._done(f"the PROXY header was not taken: {reason.getErrorMessage()}" if lost else None)

    def _done(self, problem: str | None) -> None:
        answer, self._answer = self._answer, None
        self._stream = None
        if answer is not None:
            answer(problem)

    def drop(self) -> None:
        """Give the attempt up; nothing is answered any more."""
        self._answer = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.drop()
        elif self.transport is not None:
            hang_up(self.transport)
        elif self._connecting is not None:
            try:
                self._connecting.cancel()
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._log.failure("giving up a check's connection failed")


class Check:
    """The checks of one server, one after the other. ``header``: what the server gets told, empty for nothing.

    ``target``: where it is checked, which need not be where connections go. ``outgoing``: see ``Outgoing.for_checks``.
    """

    def __init__(
        self,
        server: Server,
        target: Target,
        header: bytes,
        rhythm: Rhythm,
        clock: IReactorTime,
        poller: Poller | None,
        reactor: Any,
        outgoing: Outgoing | None = None,
    ) -> None:
        self.server = server
        self.target = target
        self.header = header
        self.rhythm = rhythm
        self._clock = clock
        self._poller = poller
        self._reactor = reactor
        self._outgoing = outgoing
        self._changed: Callable[[Server, str], None] | None = None
        self._began = 0.0
        self._next: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._probe: Probe | None = None

    def start(self, delay_s: float, changed: Callable[[Server, str], None]) -> None:
        """Check for the first time in ``delay_s``; ``changed(server, reason)`` is told when its state has changed."""
        self._changed = changed
        self._next = self._clock.callLater(delay_s, self._check)

    def stop(self) -> None:
        """Check no more."""
        self._changed = None
        for call in (self._next, self._deadline):
            if call is not None and call.active():
                call.cancel()
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.drop()

    def _check(self) -> None:
        self._began = self._clock.seconds()
        self._deadline = self._clock.callLater(self.rhythm.timeout_s, self._overdue)
        self._probe = Probe(self.header, self._answered)
        self._probe.start(self.target, self._poller, self._reactor, self._outgoing)

    def _overdue(self) -> None:
        assert self._probe is not None
        self._probe.drop()
        self._answered(f"no connection within {self.rhythm.timeout_s:g} s")

    def _answered(self, problem: str | None) -> None:
        self._probe = None
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        wait_s = self._began + self.rhythm.interval_s - self._clock.seconds()
        self._next = self._clock.callLater(max(0.0, wait_s), self._check)
        self._count(problem)

    def _count(self, problem: str | None) -> None:
        server = self.server
        if server.up is (problem is None):
            server.contrary = 0
            return
        server.contrary += 1
        needed = self.rhythm.fall if server.up else self.rhythm.rise
        if server.contrary < needed:
            return
        server.up, server.contrary = not server.up, 0
        if self._changed is not None:
            times = "1 check" if needed == 1 else f"{needed} checks in a row"
            self._changed(server, f"{times} went well" if problem is None else f"{times} failed, the last: {problem}")


class Health:
    """The checks of one backend's servers. ``observers`` hear of each change, each of them once.

    ``blame(error, where)``: called for an observer that raises.
    """

    _log = Logger()

    def __init__(self, backend: Backend, checks: Sequence[Check], blame: Callable[[PluginError, str], None]) -> None:
        self.backend = backend
        self.checks = tuple(checks)
        self.observers: tuple[Built[IObserver], ...] = ()
        self._blame = blame

    def start(self, number: int, count: int) -> None:
        """Begin. The first check here is the ``number``-th, from 0, of ``count`` that spread over their intervals."""
        checked = {check.server for check in self.checks}
        for server in self.backend.servers:
            if server not in checked and not server.up:
                server.up, server.contrary = True, 0
                self.changed(server, "it is not checked any more")
        for place, check in enumerate(self.checks, number):
            check.start(check.rhythm.interval_s * place / count, self.changed)

    def stop(self) -> None:
        """Check no more."""
        for check in self.checks:
            check.stop()

    def changed(self, server: Server, reason: str) -> None:
        """The state of ``server`` has changed: log it, tell the observers, and serve accordingly."""
        backend, name = self.backend, self.backend.name
        had_any = backend.usable
        if server.up:
            self._log.info("server {backend}/{name} is up: {reason}", backend=name, name=server.name, reason=reason)
        else:
            self._log.warn("server {backend}/{name} is down: {reason}", backend=name, name=server.name, reason=reason)
        backend.server_changed()
        if had_any and not backend.usable:
            self._log.error("backend {backend} has no usable server left", backend=name)
        for observer in self.observers:
            try:
                observer.object.server_state_changed(name, server, "up" if server.up else "down", reason)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                what = f"raised {shown(error)} in server_state_changed"
                self._blame(PluginError(observer.plugin, what), f"backend {name}")
