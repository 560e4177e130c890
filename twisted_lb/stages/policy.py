"""May this connection go on, given the facts?

Stage: admission (entries that need no more than the addresses) and policy.
In: a frontend's ``policies``, and the facts; in HTTP mode those about a request.
Out: ``Allow``, ``Deny``, or what a request is answered; at once or through ``policies_answered``.
Never: lets a connection on because a policy failed.
Source: ``api.IPolicy``; docs/explanation/robustness.md, on failing closed.
"""

import inspect
from collections.abc import Container, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.api import IPolicy
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in
from twisted_lb.verdicts import ALLOW, Allow, Decision, Deny, HttpVerdict


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
    return settle(policy, answer, facts)


def settle(policy: Built[IPolicy], result: Any, facts: Facts) -> Decision:
    """Make sure that what a policy answered in the end is a decision that can be carried out.

    Raises: PluginError.
    """
    if type(result) is Allow:
        return result
    if isinstance(result, Deny | HttpVerdict):
        fault = fault_in(result)
        if facts.http is None and not isinstance(result, Deny):
            fault = "there is no request to answer: its stage is admission, or the frontend's mode is tcp"
        if not fault:
            return result
        raise PluginError(policy.plugin, f"policy {policy.name!r} answered {shown(result)} in decide: {fault}")
    if isinstance(result, Allow):
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

    ``backends``: the names that policies may choose.
    ``asked``: how many have allowed it so far; the next one is asked now or has not answered yet.
    """

    __slots__ = ("_backends", "_facts", "_owner", "_policies", "_until", "_waiting_on", "asked")
    _log = Logger(namespace="twisted_lb.plugins")

    def __init__(
        self,
        owner: PolicyOwner,
        policies: Sequence[Built[IPolicy]],
        facts: Facts,
        asked: int = 0,
        backends: Container[str] = (),
    ) -> None:
        self._backends = backends
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
            if not isinstance(answer, Allow):
                return answer
            self._passed()
        return ALLOW

    def _passed(self) -> None:
        backend: Any = self._facts.backend
        if backend is not None and not (isinstance(backend, str) and backend in self._backends):
            policy = self._policies[self.asked]
            what = f"policy {policy.name!r} chose the backend {shown(backend)}, which does not exist"
            raise PluginError(policy.plugin, what)
        self.asked += 1

    def _answered(self, result: Any, deferred: "Deferred[Any]") -> None:
        if self._waiting_on is not deferred:
            return  # too late: the connection has ended
        self._waiting_on = None
        outcome: Decision | PluginError | None
        try:
            outcome = settle(self._policies[self.asked], result, self._facts)
            if isinstance(outcome, Allow):
                self._passed()
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
