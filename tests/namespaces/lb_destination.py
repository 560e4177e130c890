"""A plugin for tests: denies by where the client wanted to go, before it has said a byte."""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import ALLOW, Deny, Facts, IPolicy, Options, Stage, Supply, Verdict, hookimpl


class DestinationOptions(Options, frozen=True):
    """``deny``: addresses."""

    deny: tuple[str, ...]


@implementer(IPolicy)
class DestinationPolicy:
    """Judges the destination."""

    stage = Stage.ADMISSION

    def __init__(self, options: DestinationOptions) -> None:
        self._deny = options.deny

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once."""
        return Deny("nobody goes there") if facts.destination.host in self._deny else ALLOW


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply the policy under its name."""
    return {"destination": Supply(DestinationPolicy, DestinationOptions)}
