"""Several protocols on one port: which of them does this client speak?

Stage: validation.
In: the validators of an ``any_of``, all bytes that came so far, and the facts.
Out: what the first of them answers that does not deny; ``Deny`` when all of them do.
Never: lets its answer depend on how the bytes were cut, or keeps a fact that a validator learnt which lost.
Source: docs/reference/configuration.md, ``validators``.
"""

from collections.abc import Sequence

from twisted_lb.contracts import IValidator
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.validator import PROTOCOL, ask, is_server_first, recognised
from twisted_lb.verdicts import Allow, Deny, NeedMore, Verdict


class AnyOf:
    """An entry of ``validators`` that is several. Keeps nothing of any connection.

    ``server_first``: the one that is taken for a client that says nothing.
    """

    __slots__ = ("members", "server_first")

    def __init__(self, members: Sequence[Built[IValidator]]) -> None:
        self.members = tuple(members)
        silent = [member for member in self.members if is_server_first(member)]
        if len(silent) > 1:
            names = " and ".join(f'"{member.name}"' for member in silent)
            raise ConfigError(f"in {names} the server speaks first, and a silent client can mean one only")
        self.server_first = silent[0] if silent else None

    def ask(self, data: bytes, facts: Facts) -> tuple[Verdict, Built[IValidator] | None]:
        """Ask them in order about ``data``, which is not empty; a validator that failed is no validator that denied.

        Returns: the verdict, and with ``Allow`` whose it is.
        Raises: PluginError.
        """
        known, farewell = dict(facts.learnt), facts.farewell
        before = {name: value for name, value in known.items() if name != PROTOCOL}
        refusals: list[Deny] = []
        for member in self.members:
            _set(facts, before)
            verdict = ask(member, data, facts)
            if isinstance(verdict, Allow):
                recognised(member, facts)
                return verdict, member
            _set(facts, known)
            facts.farewell = farewell
            if isinstance(verdict, NeedMore):
                return verdict, None
            refusals.append(verdict)
        return _all_of(refusals), None


def _set(facts: Facts, learnt: dict[str, object]) -> None:
    facts.learnt.clear()
    facts.learnt.update(learnt)


def _all_of(refusals: Sequence[Deny]) -> Deny:
    """Return one refusal for all: who speaks none of the protocols hears the first farewell that there is."""
    reason = "; ".join(refusal.reason for refusal in refusals)
    speaking = next((refusal for refusal in refusals if refusal.farewell), None)
    how = next((refusal.how for refusal in refusals if refusal.how is not None), None)
    if speaking is not None:
        return Deny(reason, how=speaking.how, farewell=speaking.farewell)
    return Deny(reason, how=how)
