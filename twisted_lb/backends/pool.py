"""A backend at run time: its servers, who is connected to them, and who waits for a slot."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from zope.interface import implementer

from twisted_lb.api import IBalancer, IServer
from twisted_lb.backends.target import Target
from twisted_lb.config.inherit import BackendTimers
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built


@implementer(IServer)
class Server:
    """One server of one backend. A reload that leaves its name and address alone keeps the object and its counters.

    ``total``: connections ever opened to it. ``failures``: attempts to connect that came to nothing.
    """

    __slots__ = ("connections", "failures", "maxconn", "name", "target", "total", "weight")

    def __init__(self, name: str, target: Target, weight: int = 1, maxconn: int = 0) -> None:
        self.name = name
        self.target = target
        self.weight = weight
        self.maxconn = maxconn
        self.connections = 0
        self.total = 0
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.target}>"


class Waiting(Protocol):
    """A session in a backend's queue."""

    def slot_free(self, server: Server) -> None:
        """``server`` was taken for this session, which is no longer in the queue."""


class Backend:
    """One backend. ``queue``: sessions that wait for a slot, longest first; a reload hands it on."""

    def __init__(
        self,
        name: str,
        servers: Sequence[Server],
        balancer: Built[IBalancer],
        timers: BackendTimers,
        retries: int = 3,
        redispatch: int = -1,
        queue: "deque[Waiting] | None" = None,
    ) -> None:
        self.name = name
        self.servers = tuple(servers)
        self.timers = timers
        self.retries = retries
        self.redispatch = redispatch
        self.connections = 0
        self.queue: deque[Waiting] = deque() if queue is None else queue
        self._balancer = balancer.object
        self._blame = balancer.plugin
        self.settle()

    def settle(self) -> None:
        """Take note of the servers' weights and limits; to be called when they have changed."""
        self._usable = tuple(server for server in self.servers if server.weight)
        self._unlimited = not any(server.maxconn for server in self._usable)

    def candidates(self, besides: Server | None = None) -> Sequence[Server]:
        """The usable servers with a free slot, in the configuration's order; without ``besides`` if others remain."""
        usable: Sequence[Server] = self._usable
        if not self._unlimited:
            usable = [server for server in usable if not server.maxconn or server.connections < server.maxconn]
        if besides is not None:
            return [server for server in usable if server is not besides] or usable
        return usable

    def choose(self, facts: Facts, besides: Server | None = None) -> Server | None:
        """Let the balancer choose a server, and take a slot of it. ``None``: every usable server is full.

        Raises PluginError if the balancer raises or answers anything but a candidate.
        """
        candidates = self.candidates(besides)
        if not candidates:
            return None
        try:
            server: Server = self._balancer.choose(candidates, facts)
        except Exception as error:
            raise PluginError(self._blame, f"raised {error!r} in choose") from error
        if server not in candidates:
            raise PluginError(self._blame, f"chose {server!r}, which is no candidate")
        self.take(server)
        return server

    @property
    def usable(self) -> bool:
        """Whether there is any server that could ever be chosen."""
        return bool(self._usable)

    def take(self, server: Server) -> None:
        """Count one connection to ``server``."""
        server.connections += 1
        server.total += 1

    def give_back(self, server: Server) -> None:
        """One connection to ``server`` less; whoever waited longest in the queue gets the slot."""
        server.connections -= 1
        if self.queue and server.connections < server.maxconn and server.weight:
            waiting = self.queue.popleft()
            self.take(server)
            waiting.slot_free(server)
