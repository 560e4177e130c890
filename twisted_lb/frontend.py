"""A frontend at run time: what its connections are asked, where they go, who is told."""

from collections.abc import Mapping, Sequence

from twisted_lb.api import IObserver, IPolicy, IValidator
from twisted_lb.backends.pool import Backend
from twisted_lb.config.inherit import FrontendTimers
from twisted_lb.endings import Stage
from twisted_lb.facts import Facts
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built
from twisted_lb.stages.access_log import AccessLog
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.body_rate import LeastRate
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.wire.http1 import Forwarder, ForwardPlan, Http1Settings


class HttpFrontend:
    """What a frontend's settings say about HTTP.

    ``parsing``: how strictly requests are read. ``plans``: by backend's name. ``excepted``: the proxies whose word
    about their clients counts. ``bodies``: ``None`` if they simply pass through. ``least_rate``: of requests' bodies.
    """

    def __init__(
        self,
        parsing: Http1Settings,
        answers: Answers,
        plans: Mapping[str, ForwardPlan],
        excepted: Networks | None = None,
        bodies: Bodies | None = None,
        least_rate: LeastRate | None = None,
    ) -> None:
        self.parsing = parsing
        self.answers = answers
        self.bodies = bodies
        self.least_rate = least_rate
        self._plans = plans
        self._excepted = excepted

    def forwarder(self, backend: Backend, facts: Facts, secure: bool) -> Forwarder:
        """Make what is constant for one client's connection when its requests go to ``backend``."""
        source = facts.source
        excepted = self._excepted is not None and bool(self._excepted.contains(source.host))
        client = b"unknown" if source.host.startswith("un") else source.host.encode()
        return self._plans[backend.name].connection(client, facts.destination.port, secure=secure, excepted=excepted)


class Frontend:
    """One frontend. Sessions keep the one that they began with; a reload makes new ones.

    ``policies``: in the configuration's order; the first ``at_admission`` of them need nothing but the addresses and
    are asked before a byte is looked at. ``http``: ``None`` in TCP mode.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        timers: FrontendTimers,
        limit: Limit,
        validators: Sequence[Built[IValidator]] = (),
        policies: Sequence[Built[IPolicy]] = (),
        observers: Sequence[Built[IObserver]] = (),
        access_log: AccessLog | None = None,
        http: HttpFrontend | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.timers = timers
        self.http = http
        self.idle = IdleTimers.of(timers, backend.timers)
        self.limit = limit
        self.validators = tuple(validators)
        self.policies = tuple(policies)
        self.observers = tuple(observers)
        self.access_log = access_log
        self.at_admission = 0
        while (
            self.at_admission < len(self.policies) and self.policies[self.at_admission].object.stage is Stage.ADMISSION
        ):
            self.at_admission += 1
        self.recorded = access_log is not None or bool(self.observers)
        """Whether anybody wants a record of each connection."""
