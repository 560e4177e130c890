"""A frontend at run time: what its connections are asked, where they go, who is told."""

from collections.abc import Sequence

from twisted_lb.api import IObserver, IPolicy, IValidator
from twisted_lb.backends.pool import Backend
from twisted_lb.config.inherit import FrontendTimers
from twisted_lb.endings import Stage
from twisted_lb.plugin_host import Built
from twisted_lb.stages.access_log import AccessLog
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.relay_timers import IdleTimers


class Frontend:
    """One frontend. Sessions keep the one that they began with; a reload makes new ones.

    ``policies``: in the configuration's order; the first ``at_admission`` of them need nothing but the addresses and
    are asked before a byte is looked at.
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
    ) -> None:
        self.name = name
        self.backend = backend
        self.timers = timers
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
