"""The accept room for Twisted's own endpoints.

Stage: accept.
In: an ``IStreamServerEndpoint``.
Out: one call of ``arrive`` per connection, and of the arrival's ``start`` when there is room.
Never: lets more than ``HELD`` connections wait that a port which cannot pause goes on accepting.
Source: ``twisted.internet.interfaces``.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from twisted_lb.net.listening import Place
from twisted_lb.stages.admission import Limit

HELD = 1024
"""Connections that may wait for room beyond the limits; Twisted accepts in batches, so some have to."""


class Arrival(Protocol):
    """A session whose client came through an endpoint."""

    client: Any

    def start(self) -> None:
        """Begin the walk."""


class EndpointListener(Factory):
    """One endpoint that is listened on. ``arrive(address, arrived)`` makes the session for a client's address.

    ``opened(host)``: told the port's address once it is open. ``places``: where it listens for TCP, if that is known.
    """

    noisy = False
    _log = Logger()

    def __init__(self, endpoint: Any, name: str, limits: Sequence[Limit]) -> None:
        self.arrive: Callable[[IAddress | None, Callable[[Any], None]], Any] | None = None
        self.opened: Callable[[IAddress], None] | None = None
        self.places: list[Place] = []
        self.limits = limits
        self.name = name
        self._endpoint = endpoint
        self._port: Any = None
        self._stopped = False
        self._paused = False
        self._held: deque[Arrival] = deque()

    def listen(self) -> "Deferred[Any]":
        """Open the port; the result is of no interest, the failure is."""
        opening: Deferred[Any] = self._endpoint.listen(self)
        return opening.addCallback(self._opened)

    def _opened(self, port: Any) -> None:
        if self._stopped:
            port.stopListening()
        else:
            self._port = port
            if self.opened is not None:
                self.opened(port.getHost())

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See ``IProtocolFactory``."""
        return None if self.arrive is None else self.arrive(addr, self._arrived)

    def _arrived(self, arrival: Arrival) -> None:
        if len(self._held) >= HELD:
            self._log.warn("{name}: too many connections wait for room; one is refused", name=self.name)
            getattr(arrival.client, "abortConnection", arrival.client.loseConnection)()
            return
        self._held.append(arrival)
        self._admit()

    def _admit(self) -> None:
        while self._held and self._full() is None:
            arrival = self._held.popleft()
            if arrival.client is not None:
                arrival.start()
        full = self._full()
        if full is not None and not self._paused:
            self._paused = True
            if hasattr(self._port, "pauseProducing"):
                self._port.pauseProducing()
            full.wait(self)

    def _full(self) -> Limit | None:
        return next((limit for limit in self.limits if limit.room(1) < 1), None)

    def resume(self, by: Limit | None = None) -> bool:
        """There may be room again; see ``Pausable``. Whether clients wait at the port is not known here, nor later."""
        if self._paused:
            self._paused = False
            if hasattr(self._port, "resumeProducing"):
                self._port.resumeProducing()
            self._admit()
        return False

    def stop(self) -> None:
        """Close the port, at once or as soon as it is open, and whoever still waits for room."""
        # What is still opening is not cancelled: a Deferred that cannot be would swallow the port that comes later.
        self._stopped = True
        if self._port is not None:
            port, self._port = self._port, None
            port.stopListening()
        while self._held:
            client = self._held.popleft().client
            if client is not None:
                client.loseConnection()
