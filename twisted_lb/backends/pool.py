"""A backend at run time: its servers, who is connected to them, and who waits for a slot."""

from collections.abc import Sequence
from typing import Protocol
from weakref import WeakSet

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.backends.idle import Idle, belongs_to_one_client, key_for
from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.queue import Queue
from twisted_lb.backends.target import Target
from twisted_lb.config.inherit import BackendTimers
from twisted_lb.contracts import IBalancer, IServer
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built


@implementer(IServer)
class Server:
    """One server of one backend. A reload that leaves its name and address alone keeps the object and its counters.

    ``failures``: attempts to connect that came to nothing. ``up``: what its checks found last, true without any.
    ``contrary``: how many checks in a row have said the opposite of ``up``.
    """

    __slots__ = (
        "connections",
        "contrary",
        "failures",
        "idle",
        "maxconn",
        "name",
        "outgoing",
        "sender",
        "target",
        "up",
        "weight",
    )

    def __init__(self, name: str, target: Target, weight: int = 1, maxconn: int = 0) -> None:
        self.name = name
        self.target = target
        self.weight = weight
        self.maxconn = maxconn
        self.sender: Preface | None = None
        """What it is told before the client's bytes; ``None`` for nothing."""
        self.outgoing: Outgoing | None = None
        """How connections to it are made; ``None`` for the plain way."""
        self.idle: Idle | None = None
        """Connections that wait for a request; ``None`` until it is known how many there may be."""
        self.connections = 0
        self.failures = 0
        self.up = True
        self.contrary = 0

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.target}>"

    def pool(self, clock: IReactorTime, http: HttpBackend) -> None:
        """Keep idle connections from now on; to be called when its settings are in force."""
        private = http.reuse == "never" or self.sender is not None or belongs_to_one_client(self.outgoing)
        self.idle = Idle(clock, http.maximum, http.idle_s, private, key_for(self.target, self.outgoing))


class Preface(Protocol):
    """Makes what a server gets before the client's bytes."""

    def preface(self, facts: Facts) -> bytes:
        """The bytes for one connection. Raises: PluginError."""


class Waiting(Protocol):
    """A session in a backend's queue."""

    def slot_free(self, server: Server) -> None:
        """``server`` was taken for this session, which is no longer in the queue."""


class Load:
    """What a backend carries, and hands on to the one that takes its place at a reload.

    ``connections``: sessions that have chosen, or wait to choose, one of its servers. ``queue``: those that wait for a
    slot. ``backend``: the one whose servers they get. ``backends``: all that sessions may still use.
    """

    __slots__ = ("backend", "backends", "connections", "handing_out", "queue")

    def __init__(self, backend: "Backend") -> None:
        self.backend = backend
        self.backends: WeakSet[Backend] = WeakSet()
        self.connections = 0
        self.queue: Queue[Waiting] = Queue()
        self.handing_out = False


class Backend:
    """One backend. ``load`` and ``queue``: see ``Load``; those of ``before``, if it takes the place of that one.

    ``maxqueue``: how many may wait in the queue; 0 for any number.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        servers: Sequence[Server],
        balancer: Built[IBalancer],
        timers: BackendTimers,
        retries: int = 3,
        redispatch: int = -1,
        before: "Backend | None" = None,
        http: HttpBackend | None = None,
        maxqueue: int = 0,
    ) -> None:
        self.name = name
        self.servers = tuple(servers)
        self.timers = timers
        self.http = HttpBackend() if http is None else http
        self.retries = retries
        self.redispatch = redispatch
        self.maxqueue = maxqueue
        self.load: Load = Load(self) if before is None else before.load
        self.load.backends.add(self)
        self.queue = self.load.queue
        self._balancer = balancer.object
        self.blind = bool(getattr(balancer.object, "blind", False))
        """Whether servers are chosen without a look at the facts."""
        self._balancer_plugin = balancer.plugin
        self.settle()

    def take_over(self) -> None:
        """From now on those who wait get servers of this backend; also after servers or their limits have changed."""
        # The one before still serves whoever chose it or retries, and may share servers, whose settings have changed.
        self.load.backend.settle()
        self.load.backend = self
        self.settle()
        self._hand_out()

    def server_changed(self) -> None:
        """A server went up or down: choose accordingly from now on; those who wait get what slots there are."""
        for backend in self.load.backends:
            backend.settle()
        self.load.backend._hand_out()

    def settle(self) -> None:
        """Take note of the servers' states, weights and limits; to be called when they have changed."""
        self._usable = tuple(server for server in self.servers if server.weight and server.up)
        self._unlimited = not any(server.maxconn for server in self._usable)
        for server in self.servers:
            if server.idle is not None:
                server.idle.use(server.up and server.weight > 0)

    def candidates(self, besides: Server | None = None) -> Sequence[Server]:
        """The usable servers with a free slot, in the configuration's order; without ``besides`` if others remain."""
        usable: Sequence[Server] = self._usable
        if not self._unlimited:
            usable = [server for server in usable if not server.maxconn or server.connections < server.maxconn]
        if besides is not None:
            return [server for server in usable if server is not besides] or usable
        return usable

    def choose(self, facts: Facts, besides: Server | None = None) -> Server | None:
        """Let the balancer choose a server, and take a slot of it. ``None``: every usable server is full, if any is.

        Raises PluginError if the balancer raises or answers anything but a candidate.
        """
        candidates = self._usable if self._unlimited and besides is None else self.candidates(besides)
        if not candidates:
            return None
        try:
            server: object = self._balancer.choose(candidates, facts)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(self._balancer_plugin, f"raised {shown(error)} in choose") from error
        # The type first: ``in`` would ask anything else whether it is equal.
        if type(server) is not Server or server not in candidates:
            raise PluginError(self._balancer_plugin, f"chose {shown(server)}, which is no candidate")
        server.connections += 1
        return server

    def choose_this(self, server: Server) -> bool:
        """Take a slot of ``server`` without asking the balancer; returns whether it could be chosen."""
        if server not in self._usable or (server.maxconn and server.connections >= server.maxconn):
            return False
        self.take(server)
        return True

    @property
    def usable(self) -> bool:
        """Whether there is any server that is up and may be chosen, be it full or not."""
        return bool(self._usable)

    @property
    def queue_full(self) -> bool:
        """Whether nobody else may wait for a slot."""
        return 0 < self.maxqueue <= len(self.queue)

    def take(self, server: Server) -> None:
        """Count one connection to ``server``."""
        server.connections += 1

    def give_back(self, server: Server) -> None:
        """One connection to ``server`` less; whoever comes first in the queue gets the slot."""
        server.connections -= 1
        if self.queue.class_of:
            self.load.backend._hand_out()

    def _hand_out(self) -> None:
        load = self.load
        if load.handing_out:
            return  # whoever called this gives back what it was handed, and the loop below sees that slot too
        load.handing_out = True
        try:
            while load.queue and (free := self.candidates()):
                server = min(free, key=_connections)
                waiting = load.queue.popleft()
                self.take(server)
                try:
                    waiting.slot_free(server)
                except Exception:
                    self._log.failure("backend {name}: a connection could not use its slot", name=self.name)
        finally:
            load.handing_out = False


def _connections(server: Server) -> int:
    return server.connections
