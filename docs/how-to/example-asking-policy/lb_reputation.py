"""``use = "reputation"``: a service says how bad an address is; rules know that as ``reputation.score``."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    Decision,
    Deny,
    Duration,
    Fact,
    Facts,
    FactType,
    IPolicy,
    Lookups,
    Options,
    Runtime,
    Stage,
    Supply,
    UnansweredError,
    WebService,
    hookimpl,
)

SCORE = "reputation.score"


class ReputationOptions(Options, frozen=True):
    """``most``: the highest score that is let in."""

    url: str
    most: int = 50
    timeout: Duration = Duration(1)


@implementer(IPolicy)
class Reputation:
    """Asks about an address once, and remembers the answer for a minute."""

    stage = Stage.ADMISSION

    def __init__(self, options: ReputationOptions, runtime: Runtime) -> None:
        self._most = options.most
        self._service = WebService(runtime.reactor, options.url, options.timeout, kept=10, most_bytes=100)
        self._scores: Lookups[str, int] = Lookups(runtime.clock, self._ask, options.timeout, 20, 10000)

    def _ask(self, host: str) -> Deferred[tuple[int, float]]:
        return Deferred.fromCoroutine(self._asked(host))

    async def _asked(self, host: str) -> tuple[int, float]:
        answer = await self._service.ask([(b"X-Address", host.encode())])
        if answer.status != 200 or not answer.body or not answer.body.isdigit():
            raise UnansweredError("it does not know")
        return int(answer.body), 60.0

    async def decide(self, facts: Facts) -> Decision:
        """Deny who is worse than that; if the service fails this raises, and that denies too."""
        score = self._scores.get(facts.source.host)
        score = await score if isinstance(score, Deferred) else score
        facts.learnt[SCORE] = score
        return ALLOW if score <= self._most else Deny(f"its score is {score}")


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``reputation``."""
    fact = Fact(FactType.INTEGER, "how bad the client's address is", Stage.ADMISSION)
    return {"reputation": Supply(Reputation, ReputationOptions, facts={SCORE: fact}, runtime=True)}
