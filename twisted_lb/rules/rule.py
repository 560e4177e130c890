"""A rule as a policy: a condition, and what those who meet it get."""

from zope.interface import implementer

from twisted_lb.config.policies import Rule
from twisted_lb.contracts import IPolicy
from twisted_lb.endings import Stage
from twisted_lb.errors import WireError
from twisted_lb.facts import Facts
from twisted_lb.rules.actions import ONLY_REFUSE, answers_request, verdict_of
from twisted_lb.rules.expression import Compiled, compile_expression
from twisted_lb.rules.limits import asked_first, blamed, build_limit
from twisted_lb.rules.scope import Scope
from twisted_lb.verdicts import ALLOW, Decision, Deny


@implementer(IPolicy)
class RulePolicy:
    """Answers with ``verdict`` to who meets the condition, and lets all others go on to the next entry.

    ``label``: the action, for the record. ``only_refuses``: it does nothing else, so it may be asked early.
    ``rule_condition``: who does not meet it need not be asked about further; ``None`` if that may have no answer.
    """

    def __init__(self, compiled: Compiled, verdict: Decision, label: str, stage: Stage | None = None) -> None:
        self.compiled = compiled
        self.verdict = verdict
        self.label = label
        self.stage = compiled.stage if stage is None else stage
        self.only_refuses = label in ONLY_REFUSE
        self.rule_condition = compiled.condition if compiled.readable else None
        self._holds = compiled.condition

    def decide(self, facts: Facts) -> Decision:
        """See ``IPolicy``. A path that servers may read both ways is refused, as by a route."""
        try:
            return self.verdict if self._holds(facts) else ALLOW
        except WireError as error:
            return Deny(error.reason, 400)


def build_rule(rule: Rule, scope: Scope) -> IPolicy:
    """Build the policy of an entry that is a rule. Raises: ConfigError, each problem with the key below the entry's."""
    (action,) = rule.actions
    if action in ("limit", "track", "count"):
        return build_limit(rule, scope)
    with blamed(action):
        compiled = compile_expression(getattr(rule, action), scope)
        stage = Stage.POLICY if answers_request(action, rule, scope.mode) else compiled.stage
        policy: IPolicy = RulePolicy(compiled, verdict_of(action, rule), action, stage)
    return asked_first(policy, compiled, scope)
