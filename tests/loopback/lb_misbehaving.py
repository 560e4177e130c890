"""A plugin for tests that breaks every contract it can, in the way that its option ``how`` says.

Each breaks it for the first connection only, so that the next one shows whether the proxy is unharmed; ``never`` and
``later`` hold for all of them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    IAccessLog,
    IBalancer,
    IObserver,
    IPolicy,
    IValidator,
    Options,
    Stage,
    Supply,
    hookimpl,
)


class HowOptions(Options, frozen=True):
    """``how``: raise, answer something of the wrong type, or (policies) never or later."""

    how: Literal["raises", "nonsense", "never", "later"] = "raises"


class Misbehaving:
    """Misbehaves once."""

    def __init__(self, options: HowOptions) -> None:
        self.how = options.how
        self.calls = 0

    def answer(self, good: Any) -> Any:
        """Break the contract at the first call, and return ``good`` ever after."""
        self.calls += 1
        if self.calls > 1:
            return good
        if self.how == "raises":
            raise RuntimeError("misbehaving on purpose")
        return object()


@implementer(IBalancer)
class Balancer(Misbehaving):
    """Chooses nobody."""

    def choose(self, candidates: Any, facts: Any) -> Any:
        """See ``IBalancer``."""
        return self.answer(candidates[0])


@implementer(IPolicy)
class Policy(Misbehaving):
    """Decides badly."""

    stage = Stage.POLICY

    def decide(self, facts: Any) -> Any:
        """See ``IPolicy``."""
        if self.how == "never":
            return Deferred()
        if self.how == "later":
            from twisted.internet import reactor

            later: Deferred[Any] = Deferred()
            reactor.callLater(0.2, later.callback, ALLOW)
            return later
        return self.answer(ALLOW)


@implementer(IPolicy)
class CoroutinePolicy(Policy):
    """Decides badly in a coroutine."""

    async def decide(self, facts: Any) -> Any:
        """See ``IPolicy``."""
        return self.answer(ALLOW)


@implementer(IValidator)
class Validator(Misbehaving):
    """Validates badly."""

    def validate(self, data: bytes, facts: Any) -> Any:
        """See ``IValidator``."""
        return self.answer(ALLOW)


@implementer(IAccessLog)
class AccessLog(Misbehaving):
    """Formats badly."""

    def format(self, record: Any) -> Any:
        """See ``IAccessLog``."""
        return self.answer(b"a line")


@implementer(IObserver)
class Observer(Misbehaving):
    """Fails whenever it is told something of the first connection."""

    def session_opened(self, facts: Any) -> None:
        """See ``IObserver``."""
        self.answer(None)

    session_routed = session_closed = request_closed = message_refused = server_state_changed = lambda self, *_: None


@hookimpl
def lb_balancers() -> Mapping[str, Supply[IBalancer]]:
    """Supply it."""
    return {"misbehaving": Supply(Balancer, HowOptions)}


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply both."""
    return {"misbehaving": Supply(Policy, HowOptions), "misbehaving_later": Supply(CoroutinePolicy, HowOptions)}


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply it."""
    return {"misbehaving": Supply(Validator, HowOptions)}


@hookimpl
def lb_access_logs() -> Mapping[str, Supply[IAccessLog]]:
    """Supply it."""
    return {"misbehaving": Supply(AccessLog, HowOptions)}


@hookimpl
def lb_observers() -> Mapping[str, Supply[IObserver]]:
    """Supply it."""
    return {"misbehaving": Supply(Observer, HowOptions)}
