"""A frontend at run time: what its connections are asked, where they go, who is told."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from twisted_lb.backends.pool import Backend
from twisted_lb.config.inherit import FrontendTimers
from twisted_lb.contracts import IObserver, IPolicy
from twisted_lb.endings import Stage
from twisted_lb.facts import Facts
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built
from twisted_lb.routing import Routes, host_of
from twisted_lb.stages.access_log import AccessLog
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.body_rate import LeastRate
from twisted_lb.stages.policy import in_asking_order
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.validation import Entry, waits, watchers
from twisted_lb.wire.http1 import Forwarder, ForwardPlan, Http1Settings
from twisted_lb.wire.http1_refused import RefusedMessage


@dataclass(frozen=True, slots=True)
class Refusal:
    """In place of a backend: that goes nowhere. ``status``: what a request is answered."""

    reason: str
    status: int = 403


UNKNOWN_HOST = Refusal("no route names this host", 421)


@dataclass(frozen=True, slots=True)
class Routing:
    """Where what a frontend lets on goes. ``backends``: by name, those that policies may choose.

    ``known_hosts_only``: hosts that no route names are refused.
    """

    backends: Mapping[str, Backend]
    routes: Routes[Backend | Refusal] | None = None
    known_hosts_only: bool = False

    def target(self, facts: Facts, default: Backend) -> Backend | Refusal:
        """Return where it goes: what a policy has chosen, what a route says, or ``default``. Raises: WireError."""
        if facts.backend is not None:
            return self.backends[facts.backend]
        routes = self.routes
        if routes is None:
            return default
        if self.known_hosts_only and facts.http is not None and not routes.knows(host_of(facts.http)):
            return UNKNOWN_HOST
        return routes.find(facts)


KEPT_REFUSED = 32
"""How many messages that broke a rule are kept for each frontend, of each about 1 KiB; HAProxy keeps one."""


class HttpFrontend:
    """What a frontend's settings say about HTTP.

    ``parsing``: how strictly requests are read. ``plans``: by backend's name. ``excepted``: the proxies whose word
    about their clients counts. ``bodies``: ``None`` if they simply pass through. ``least_rate``: of requests' bodies.
    ``monitor_uri``: the target of requests that a load balancer in front sends to see whether we can serve.
    """

    def __init__(
        self,
        parsing: Http1Settings,
        answers: Answers,
        plans: Mapping[str, ForwardPlan],
        excepted: Networks | None = None,
        bodies: Bodies | None = None,
        least_rate: LeastRate | None = None,
        monitor_uri: bytes | None = None,
    ) -> None:
        self.parsing = parsing
        self.answers = answers
        self.bodies = bodies
        self.least_rate = least_rate
        self.monitor_uri = monitor_uri
        self.refused: deque[RefusedMessage] = deque(maxlen=KEPT_REFUSED)
        """The last messages that broke a rule, newest last."""
        self._plans = plans
        self._excepted = excepted

    def forwarder(self, backend: Backend, facts: Facts, secure: bool) -> Forwarder:
        """Make what is constant for one client's connection when its requests go to ``backend``."""
        source = facts.source
        excepted = self._excepted is not None and bool(self._excepted.contains(source.host))
        client = b"unknown" if source.host.startswith("un") else source.host.encode()
        own = facts.destination
        here = b"" if own.host.startswith("un") or "%" in own.host else str(own).encode()
        plan = self._plans[backend.name]
        return plan.connection(client, own.port, secure=secure, excepted=excepted, here=here)


class Frontend:
    """One frontend. Sessions keep the one that they began with; a reload makes new ones.

    ``policies``: in the order in which they are asked; the first ``at_admission`` of them need nothing but the
    addresses and are asked before a byte is looked at. ``http``: ``None`` in TCP mode. ``routing``: ``None`` if all
    goes to ``backend``. ``lets_undecided``: who says too little for its validators within ``timeouts.inspect`` is let
    on.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        timers: FrontendTimers,
        limit: Limit,
        validators: Sequence[Entry] = (),
        policies: Sequence[Built[IPolicy]] = (),
        observers: Sequence[Built[IObserver]] = (),
        access_log: AccessLog | None = None,
        http: HttpFrontend | None = None,
        routing: Routing | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.timers = timers
        self.http = http
        self.routing = Routing({backend.name: backend}) if routing is None and policies else routing
        self.idle = IdleTimers.of(timers, backend.timers)
        self.limit = limit
        self.validators = tuple(validators)
        self.waits = waits(self.validators)
        """Whether a validator has to see bytes of the client before a server does."""
        self.watchers = watchers(self.validators)
        """The validators that may stay on a connection; ``None`` if that depends on what it is recognised as."""
        self.lets_undecided = False
        self.policies, self.at_admission = in_asking_order(policies)
        self.observers = tuple(observers)
        self.access_log = access_log
        self.empty_stages = frozenset(self._empty_stages())
        """Those in which nothing is asked of its clients; ``empty_behind_proxies``: of those who send PROXY headers."""
        self.empty_behind_proxies = self.empty_stages - {Stage.PROXY_HEADER} | {Stage.ADMISSION}
        self.recorded = access_log is not None or bool(self.observers)
        """Whether anybody wants a record of each connection."""

    def _empty_stages(self) -> Iterator[Stage]:
        yield Stage.PROXY_HEADER
        if not self.at_admission:
            yield Stage.ADMISSION
        if self.http is None and not self.validators:
            yield Stage.VALIDATION
        if self.routing is None:
            yield Stage.POLICY
        if self.http is not None and self.http.bodies is None:
            yield Stage.BODY

    def idle_to(self, backend: Backend) -> IdleTimers:
        """Return how long connections to ``backend`` may be idle."""
        return self.idle if backend is self.backend else IdleTimers.of(self.timers, backend.timers)
