"""May this connection go on, given the facts?

Stage: admission (entries that need no more than the addresses) and policy.
In: a frontend's ``policies``, and the facts; in HTTP mode those about a request.
Out: ``Allow``, ``Deny``, or what a request is answered; at once or through ``policies_answered``.
Never: lets a connection on because a policy failed.
Source: ``api.IPolicy``; docs/explanation/robustness.md, on failing closed.
"""

import inspect
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.conditions import Condition, FirstOf
from twisted_lb.contracts import IPolicy
from twisted_lb.endings import Stage
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in
from twisted_lb.verdicts import ALLOW, ALLOW_FINALLY, Allow, Answer, Decision, Deny, HttpVerdict, Redirect


def decide(policy: Built[IPolicy], facts: Facts) -> "Decision | Deferred[Any]":
    """Ask one policy. A Deferred that it answers with has not fired yet; ``settle`` makes a decision of its result.

    Raises: PluginError.
    """
    try:
        answer: Any = policy.object.decide(facts)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _raised(policy, error) from error
    return _decision_of(policy, answer, facts)


def _raised(policy: Built[IPolicy], error: BaseException) -> PluginError:
    return PluginError(policy.plugin, f"policy {policy.name!r} raised {shown(error)} in decide")


def _decision_of(policy: Built[IPolicy], answer: Any, facts: Facts) -> "Decision | Deferred[Any]":
    if inspect.iscoroutine(answer):
        answer = Deferred.fromCoroutine(answer)
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
        if facts.http is None and isinstance(result, Answer | Redirect):
            fault = "there is no request to answer: its stage is admission, or the frontend's mode is tcp"
        if not fault:
            return result
        raise PluginError(policy.plugin, f"policy {policy.name!r} answered {shown(result)} in decide: {fault}")
    if isinstance(result, Allow):
        return result
    if isinstance(result, Failure):
        raise PluginError(policy.plugin, f"policy {policy.name!r} raised {shown(result.value)} in decide")
    possible = "neither Allow, Deny nor Tarpit"
    if facts.http is not None:
        possible = "none of Allow, Deny, Answer, Redirect and Tarpit"
    raise PluginError(policy.plugin, f"policy {policy.name!r} answered {shown(result)} in decide, which is {possible}")


def check_backend(policy: Built[IPolicy], facts: Facts, backends: Container[str]) -> None:
    """Make sure that a policy has chosen a backend that there is, if it has chosen one. Raises: PluginError."""
    backend: Any = facts.backend
    if backend is not None and not (isinstance(backend, str) and backend in backends):
        what = f"policy {policy.name!r} chose the backend {shown(backend)}, which does not exist"
        raise PluginError(policy.plugin, what)


@dataclass(frozen=True, slots=True)
class Entry(Built[IPolicy]):
    """An entry of a frontend's ``policies``. ``number``: its place in the configuration's list, from 1 on.

    ``condition``: a rule's; it lets all go on for whom that does not hold. ``run``: of the first of several rules, the
    conditions of all of them. ``lets_on``: it is a rule that lets on, finally, for whom its condition holds.
    """

    number: int = 0
    condition: Condition | None = None
    run: FirstOf | None = None
    lets_on: bool = False

    def refusal(self, reason: str) -> str:
        """Say for the record that this entry refused, and why; without a reason the kind of the entry tells it."""
        return f"policy {self.number}: {reason or getattr(self.object, 'label', self.name)}"


def in_asking_order(policies: Sequence[Built[IPolicy]]) -> tuple[tuple[Entry, ...], int]:
    """Put the entries that need no more than the addresses to the front, as far as nobody could tell the difference.

    Those are the leading ones, and behind them each that can do nothing but refuse, if that also holds for all that it
    overtakes: then nobody let it past with a final word, and nobody counted what it refuses.

    Returns: all entries in the order in which they are asked, and how many of them are asked at admission.
    """
    early: list[Entry] = []
    late: list[Entry] = []
    for number, policy in enumerate(policies, 1):
        # Not a name that an attribute of a plugin's policy may have: who goes past it there is nobody's promise.
        condition = getattr(policy.object, "rule_condition", None)
        lets_on = condition is not None and policy.object.verdict is ALLOW_FINALLY  # type: ignore[attr-defined]
        entry = Entry(policy.plugin, policy.name, policy.object, number, condition, lets_on=lets_on)
        overtakes = _only_refuses(entry) and all(map(_only_refuses, late))
        at_admission = entry.object.stage is Stage.ADMISSION and (not late or overtakes)
        (early if at_admission else late).append(entry)
    return (*_in_runs(early), *_in_runs(late)), len(early)


def _in_runs(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Let the first of rules that follow one another know the conditions of all, to be asked in one go."""
    follows = False
    for index, entry in enumerate(entries):
        if entry.condition is not None and not follows:
            run = takewhile(lambda one: one.condition is not None, entries[index:])
            yield replace(entry, run=FirstOf([one.condition for one in run if one.condition is not None]))
        else:
            yield entry
        follows = entry.condition is not None


def past_rules(entries: Sequence[Entry], facts: Facts, asked: int) -> int:
    """Let rules decide, as far as that takes no more than their conditions; ``asked`` entries have let it on before.

    Returns: how many have now; all of them if one has spoken the last word.
    """
    run = entries[asked].run
    if run is None:
        return asked
    try:
        met = run.find(facts)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return asked  # asked one by one, they say whose fault it is
    # Behind a run may stand one that lets on, and that nobody has asked about.
    if met < len(run) and entries[asked + met].lets_on and facts.backend is None:
        return len(entries)
    return asked + met


def _only_refuses(policy: Built[IPolicy]) -> bool:
    return getattr(policy.object, "only_refuses", False) is True


class PolicyOwner(Protocol):
    """Who asked and had to wait."""

    def policies_answered(self, outcome: Decision | PluginError | None) -> None:
        """What the policies that were asked about say in the end; ``None``: one has answered, the next one will."""


class Questions:
    """One connection's questions to the policies of its frontend, asked in order, in one or two portions.

    ``backends``: the names that policies may choose.
    ``asked``: how many have allowed it so far; the next one is asked now or has not answered yet. All of them when one
    has spoken the last word.
    """

    __slots__ = ("_backends", "_facts", "_owner", "_policies", "_until", "_waiting_on", "asked")
    _log = Logger(namespace="twisted_lb.plugins")

    def __init__(
        self,
        owner: PolicyOwner,
        policies: Sequence[Entry],
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
        policies, facts, asked = self._policies, self._facts, self.asked
        while asked < until:
            asked = self.asked = past_rules(policies, facts, asked)
            if asked >= until:
                break
            policy = policies[asked]
            try:
                said = policy.object.decide(facts)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise _raised(policy, error) from error
            # As nearly always. To find out that it is neither a Deferred nor final takes longer than most rules do.
            if said is ALLOW and facts.backend is None:
                asked += 1
                continue
            answer = _decision_of(policy, said, facts)
            if isinstance(answer, Deferred):
                self._waiting_on = answer
                answer.addBoth(self._answered, answer)
                return None
            if not isinstance(answer, Allow):
                return answer
            self._passed(answer)
            asked = self.asked
        self.asked = asked
        return ALLOW

    def refusal(self, outcome: Decision) -> str:
        """Say for the record which entry answered with ``outcome``, and why."""
        return self._policies[self.asked].refusal(getattr(outcome, "reason", ""))

    def _passed(self, answer: Allow) -> None:
        check_backend(self._policies[self.asked], self._facts, self._backends)
        self.asked = len(self._policies) if answer.final else self.asked + 1

    def _answered(self, result: Any, deferred: "Deferred[Any]") -> None:
        if self._waiting_on is not deferred:
            return  # too late: the connection has ended
        self._waiting_on = None
        outcome: Decision | PluginError | None
        try:
            outcome = settle(self._policies[self.asked], result, self._facts)
            if isinstance(outcome, Allow):
                self._passed(outcome)
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
