"""May this connection go on, given the facts?

Stage: admission (entries that need no more than the addresses) and policy.
In: one entry of a frontend's ``policies``, and the facts.
Out: ``Allow`` or ``Deny``, at once or as a Deferred of one.
Never: lets a connection on because a policy failed.
Source: DESIGN "fail closed"; ``api.IPolicy``.
"""

import inspect
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_lb.api import IPolicy
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.verdicts import Allow, Deny

Decision = Allow | Deny


def decide(policy: Built[IPolicy], facts: Facts) -> "Decision | Deferred[Any]":
    """Ask one policy. A Deferred that it answers with has not fired yet; ``settle`` makes a decision of its result.

    Raises: PluginError.
    """
    try:
        answer: Any = policy.object.decide(facts)
        if inspect.iscoroutine(answer):
            answer = Deferred.fromCoroutine(answer)
    except Exception as error:
        raise PluginError(policy.plugin, f"policy {policy.name!r} raised {error!r} in decide") from error
    if isinstance(answer, Deferred):
        results: list[Any] = []
        if not answer.called:
            return answer
        answer.addBoth(results.append)
        if not results:
            return answer  # it waits for another Deferred
        answer = results[0]
    return settle(policy, answer)


def settle(policy: Built[IPolicy], result: Any) -> Decision:
    """Make sure that what a policy answered in the end is a decision.

    Raises: PluginError.
    """
    if isinstance(result, Allow | Deny):
        return result
    if isinstance(result, Failure):
        raise PluginError(policy.plugin, f"policy {policy.name!r} raised {result.value!r} in decide")
    raise PluginError(
        policy.plugin, f"policy {policy.name!r} answered {result!r} in decide, which is neither Allow nor Deny"
    )
