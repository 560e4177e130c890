"""``use = "trace"``: log each step of a connection's life, and each change of a server's state, at level ``debug``.

For finding out, not for every day.
"""

from collections.abc import Mapping

from twisted.logger import Logger
from zope.interface import implementer

from twisted_lb.api import (
    Facts,
    HttpRecord,
    IObserver,
    IServer,
    Options,
    RefusedMessage,
    SessionRecord,
    Supply,
    hookimpl,
)


@implementer(IObserver)
class Trace:
    """Logs through ``twisted.logger``; events carry ``facts``, ``server`` and ``record`` for structured logs."""

    _log = Logger()

    def session_opened(self, facts: Facts) -> None:
        """Log who came, and where."""
        self._log.debug(
            "{frontend}: {source} connected to {destination}",
            frontend=facts.frontend,
            source=str(facts.source),
            destination=str(facts.destination),
            facts=facts,
        )

    def session_routed(self, facts: Facts, backend: str, server: IServer) -> None:
        """Log where it was sent."""
        self._log.debug(
            "{frontend}: {source} goes to {backend}/{server.name}",
            frontend=facts.frontend,
            source=str(facts.source),
            backend=backend,
            server=server,
            facts=facts,
        )

    def session_closed(self, facts: Facts, record: SessionRecord) -> None:
        """Log how it ended."""
        self._log.debug(
            "{frontend}: {source} ended as {record.ending} in {record.stage} after {record.total_ms} ms",
            frontend=facts.frontend,
            source=str(facts.source),
            record=record,
            facts=facts,
        )

    def request_closed(self, facts: Facts, record: HttpRecord) -> None:
        """Log how a request ended."""
        self._log.debug(
            "{frontend}: {source}: {record.method} {record.target} was answered with {record.status},"
            " ended as {record.ending}",
            frontend=facts.frontend,
            source=str(facts.source),
            record=record,
            facts=facts,
        )

    def message_refused(self, facts: Facts, message: RefusedMessage) -> None:
        """Log nothing: the proxy itself does, at this level."""

    def server_state_changed(self, backend: str, server: IServer, state: str, reason: str) -> None:
        """Log which server went up or down, and why."""
        self._log.debug(
            "{backend}/{server.name} is {state}: {reason} ({server.failures} attempts to connect failed so far)",
            backend=backend,
            server=server,
            state=state,
            reason=reason,
        )


def build(options: Options) -> Trace:
    """Build the observer; it has no options."""
    return Trace()


@hookimpl
def lb_observers() -> Mapping[str, Supply[IObserver]]:
    """Supply ``trace``."""
    return {"trace": Supply(build)}
