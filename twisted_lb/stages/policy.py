"""May this connection go on, given the facts?

Stage: admission (entries that need no more than the addresses) and policy.
In: a frontend's ``policies``, and the facts.
Out: ``Allow`` or ``Deny``, at once or through ``policies_answered``.
Never: lets a connection on because a policy failed.
Source: ``api.IPolicy``; docs/explanation/robustness.md, on failing closed.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.api import IPolicy
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.verdicts import ALLOW, Allow, Deny

Decision = Allow | Deny


def decide(policy: Built[IPolicy], facts: Facts) -> "Decision | Deferred[Any]":
    """Ask one policy. A Deferred that it answers with has not fired yet; ``settle`` makes a decision of its result.

    Raises: PluginError.
    """
    try:
        answer: Any = policy.object.decide(facts)
        if inspect.iscoroutine(answer):
            answer = Deferred.fromCoroutine(answer)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(policy.plugin, f"policy {policy.name!r} raised {shown(error)} in decide") from error
    if isinstance(answer, Deferred):
        results: list[Any] = []
        if not answer.called or answer.paused:  # paused: it waits for another Deferred
            return answer
        answer.addBoth(results.append)
        answer = results[0]
    return settle(policy, answer)


def settle(policy: Built[IPolicy], result: Any) -> Decision:
    """Make sure that what a policy answered in the end is a decision.

    Raises: PluginError.
    """
    if isinstance(result, Allow | Deny):
        return result
    if isinstance(result, Failure):
        raise PluginError(policy.plugin, f"policy {policy.name!r} raised {shown(result.value)} in decide")
    raise PluginError(
        policy.plugin, f"policy {policy.name!r} answered {shown(result)} in decide, which is neither Allow nor Deny"
    )


class PolicyOwner(Protocol):
    """Who asked and had to wait."""

    def policies_answered(self, outcome: Decision | PluginError | None) -> None:
        """What the policies that were asked about say in the end; ``None``: one has answered, the next one will."""


class Questions:
    """One connection's questions to the policies of its frontend, asked in order, in one or two portions.

    ``asked``: how many have allowed it so far; the next one is asked now or has not answered yet.
    """

    __slots__ = ("_facts", "_owner", "_policies", "_until", "_waiting_on", "asked")
    _log = Logger(namespace="twisted_lb.plugins")

    def __init__(self, owner: PolicyOwner, policies: Sequence[Built[IPolicy]], facts: Facts, asked: int = 0) -> None:
        self.asked = asked
        self._owner = owner
        self._policies = policies
        self._facts = facts
        self._until = 0
        self._waiting_on: Deferred[Any] | None = None

    def ask(self, until: int) -> Decision | None:
        """Ask up to the one before ``until``. ``None``: one answers later, and then ``policies_answered`` is called.

        Raises: PluginError.
        """
        self._until = until
        while self.asked < until:
            answer = decide(self._policies[self.asked], self._facts)
            if isinstance(answer, Deferred):
                self._waiting_on = answer
                answer.addBoth(self._answered, answer)
                return None
            if isinstance(answer, Deny):
                return answer
            self.asked += 1
        return ALLOW

    def _answered(self, result: Any, deferred: "Deferred[Any]") -> None:
        if self._waiting_on is not deferred:
            return  # too late: the connection has ended
        self._waiting_on = None
        outcome: Decision | PluginError | None
        try:
            outcome = settle(self._policies[self.asked], result)
            if isinstance(outcome, Allow):
                self.asked += 1
                outcome = self.ask(self._until)
        except PluginError as error:
            outcome = error
        self._owner.policies_answered(outcome)

    def overrun(self) -> PluginError:
        """Give up on the policy that has not answered; what to blame it for."""
        policy = self._policies[self.asked]
        self.cancel()
        return PluginError(policy.plugin, f"policy {policy.name!r} did not answer within timeouts.policy")

    def cancel(self) -> None:
        """Wait for no answer any more; the policy that owes one sees its Deferred cancelled."""
        waiting, self._waiting_on = self._waiting_on, None
        if waiting is not None:
            waiting.addErrback(lambda _: None)
            try:
                waiting.cancel()
            except KeyboardInterrupt:
                raise
            except BaseException:
                policy = self._policies[self.asked]
                self._log.failure("plugin {plugin}: cancelling its answer failed", plugin=policy.plugin)
