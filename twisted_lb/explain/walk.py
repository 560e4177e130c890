"""Walks one described connection, or request, through a frontend as a session does, and notes every step.

Stage: all from admission up to balance, without a client and without a server.
In: an assembly that serves nothing, and a ``Case``.
Out: an ``Explanation``.
Never: connects to a server, counts in a table, or asks a plugin's policy with ``ask=False``.
Source: ``session.TRANSITIONS``; ``stages.policy``.
"""

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from twisted_lb.assembly import Assembly
from twisted_lb.config.checks_http import rule_of
from twisted_lb.counting.named import PREFIX, counters_in
from twisted_lb.errors import PluginError, WireError
from twisted_lb.errors import shown as shown_error
from twisted_lb.explain.case import Case, can_be_said, facts_of, read_facts, request_of
from twisted_lb.explain.steps import UNKNOWN, Explanation, Step, shown, told, values_of
from twisted_lb.facts import Credentials, Facts
from twisted_lb.frontend import Refusal
from twisted_lb.policy_assembly import described, validator_uses
from twisted_lb.routing import Routes
from twisted_lb.rules.rule import RulePolicy
from twisted_lb.stages.answers import with_last_words
from twisted_lb.stages.policy import Entry, check_backend, decide, settle
from twisted_lb.stages.validation import AnyOf, Inspection
from twisted_lb.stages.validation import Entry as Validator
from twisted_lb.verdicts import ALLOW, Allow, Decision, Deny, HttpVerdict, NeedMore, Verdict

COUNTING = ("limit", "track", "count")
"""Labels of entries that count, which only the running process can say anything about."""


class Walk:
    """One walk. ``ask``: ask plugins' policies too, for which the reactor has to run if they answer later."""

    def __init__(self, assembly: Assembly, name: str, case: Case, clock: IReactorTime, ask: bool = True) -> None:
        self.frontend = assembly.frontends[name]
        self.settings = assembly.config.frontends[name]
        self._scope = assembly.scopes[name]
        self._clock = clock
        self._ask = ask
        self._case = case
        self._let_in = False
        self.facts = facts_of(case, name, self.settings)
        self.told = Explanation(name, str(self.facts.source), str(self.facts.destination))

    async def go(self) -> Explanation:
        """Walk to the end. Raises: ConfigError for a case that makes no sense."""
        early = self.frontend.at_admission
        self._learn_what_is_said()
        walked = await self._policies(0, early)
        walked = walked and self._recognise()
        if walked and (self._let_in or await self._policies(early, len(self.frontend.policies))):
            self._route()
        return self.told

    def _note(self, what: str, text: str, outcome: str, facts: dict[str, str], decides: bool = False) -> None:
        self.told.steps.append(Step(what, text, outcome, facts, decides))

    def _refused(self, by: str, result: str) -> bool:
        self.told.decided_by, self.told.result = by, result
        return False

    # Policies

    async def _policies(self, first: int, until: int) -> bool:
        """Ask some of the policies, in the order in which sessions do; tell whether the walk goes on."""
        for entry in self.frontend.policies[first:until]:
            what, text = f"policy {entry.number}", described(self.settings.policies[entry.number - 1])
            policy: Any = getattr(entry.object, "policy", entry.object)
            rule = policy if isinstance(policy, RulePolicy) else None
            used = {} if rule is None else values_of(rule.compiled.facts, self.facts)
            used |= dict.fromkeys((name for name in used if name.startswith(PREFIX)), UNKNOWN)
            try:
                decision, words = await self._asked(entry, rule)
            except PluginError as error:
                self._note(what, text, f"fails: {error}", used, decides=True)
                return self._refused(what, self._told(entry, Deny("", 500)))
            if isinstance(decision, Allow):
                self._note(what, text, words, used, decides=decision.final)
                if decision.final:
                    self._let_in = True
                    self.told.decided_by = what
                    return True
                continue
            self._note(what, text, words, used, decides=True)
            return self._refused(what, self._told(entry, decision))
        return True

    def _told(self, entry: Entry, verdict: Deny | HttpVerdict) -> str:
        early = self.frontend.policies.index(entry) < self.frontend.at_admission
        if isinstance(verdict, Deny):
            verdict = with_last_words(verdict, self.facts)
        return told(verdict, self.facts.http is not None, early)

    async def _asked(self, entry: Entry, rule: RulePolicy | None) -> tuple[Decision, str]:
        counts = getattr(entry.object, "label", "") in COUNTING
        if counts or (rule is not None and counters_in(one.name for one in rule.compiled.facts)):
            return ALLOW, "not asked: only the running process knows its counters"
        if rule is not None:
            decision = rule.decide(self.facts)
            if decision is rule.verdict:
                return decision, f"holds: {rule.label}"
            return decision, decision.reason if isinstance(decision, Deny) else "does not hold"
        if not self._ask:
            return ALLOW, "not asked"
        answer: Any = decide(entry, self.facts)
        if isinstance(answer, Deferred):
            answer = await self._awaited(entry, answer)
        if isinstance(answer, Allow):
            assert self.frontend.routing is not None
            check_backend(entry, self.facts, self.frontend.routing.backends)
            chosen = self.facts.backend
            return answer, f"allows{', finally' if answer.final else ''}{f', to {chosen}' if chosen else ''}"
        return answer, f"{type(answer).__name__.lower()}: {answer.reason}"

    async def _awaited(self, entry: Entry, answer: "Deferred[Any]") -> Decision:
        timeout_s = self.frontend.timers.policy
        if timeout_s is not None:
            answer.addTimeout(timeout_s, self._clock)
        try:
            result = await answer
        except TimeoutError:
            raise PluginError(entry.plugin, f"policy {entry.name!r} did not answer within timeouts.policy") from None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise PluginError(entry.plugin, f"policy {entry.name!r} raised {shown_error(error)} in decide") from error
        return settle(entry, result, self.facts)

    # Validation

    def _recognise(self) -> bool:
        """Let validators look at the first bytes, in HTTP mode at the request; tell whether the walk goes on."""
        data = self._case.data
        if self.frontend.http is not None:
            try:
                head = request_of(self._case, self.frontend.http.parsing)
            except WireError as error:
                self._note("request", "the bytes", f"refused: {error}", {}, decides=True)
                return self._refused("request", told(Deny("", 400), to_request=True, early=False))
            self.facts.http = head
            line = f"{head.method.decode('latin-1')} {head.target.decode('latin-1')}"
            self._note("request", line, "understood", {})
            data = head.raw
        if self.frontend.validators and self.frontend.http is None and not self.frontend.waits:
            self._let_server_speak()
            return True
        if data is None:
            if self.frontend.validators:
                said = {name: shown(self.facts.learnt[name]) for name in self._case.learnt}
                outcome = "not asked: no first bytes are given (--hex, --file)"
                self._note("validators", self._validator_names(), outcome, said)
            return True
        if not data and self.frontend.http is None:
            return self._expired()
        return all(self._validated(number, one, data) for number, one in enumerate(self.frontend.validators, 1))

    def _let_server_speak(self) -> None:
        """Go on without a byte of the client, as sessions do of whose protocol the server speaks first."""
        known = dict(self.facts.learnt)
        Inspection(self.frontend.validators, self.facts).skip()
        facts = {name: shown(value) for name, value in self.facts.learnt.items() if name not in known}
        outcome = "not asked: the server speaks first, and what the client says is judged when it is connected"
        self._note("validators", self._validator_names(), outcome, facts)

    def _expired(self) -> bool:
        """Let the validators judge a client that says nothing; tell whether the walk goes on."""
        if not self.frontend.validators:
            return True
        known = dict(self.facts.learnt)
        verdict = Inspection(self.frontend.validators, self.facts).expire(b"", self.frontend.lets_undecided)
        facts = {name: shown(value) for name, value in self.facts.learnt.items() if name not in known}
        passes = isinstance(verdict, Allow)
        outcome = "undecided about who says nothing for timeouts.inspect, then refuses"
        if passes:
            outcome = "lets it pass after timeouts.inspect" if not facts else "knows it after timeouts.inspect"
        self._note("validators", self._validator_names(), outcome, facts, decides=not passes)
        return passes or self._refused("validators", told(Deny(""), to_request=False, early=False))

    def _validator_names(self) -> str:
        return ", ".join(_name(one) for one in self.frontend.validators)

    def _learn_what_is_said(self) -> None:
        """Take what the case says for what would be learnt; whose fact is known has recognised its protocol."""
        facts, known = self.facts, self._scope.facts
        said = read_facts(self._case.learnt, {name: known[name] for name in known if can_be_said(name)})
        names = {one.use for one in validator_uses(self.settings.validators)}
        protocols = [name.partition(".")[0] for name in said]
        recognised = next((name for name in protocols if name in names), None)
        if recognised is not None and "protocol" in known:
            said.setdefault("protocol", recognised)
        numbers = {name: said.pop(f"unix.{name}", 0) for name in ("pid", "uid", "gid")}
        if any(f"unix.{name}" in self._case.learnt for name in numbers):
            facts.credentials = Credentials(**numbers)
        facts.learnt.update(said)

    def _validated(self, number: int, validator: Validator, data: bytes) -> bool:
        what = f"validator {number}"
        inspection = Inspection([validator], self.facts)
        known = dict(self.facts.learnt)
        try:
            # In HTTP mode they are shown the head when it is whole.
            whole = self.facts.http is not None
            verdict, settled_at = (inspection.look(data), len(data)) if whole else _settled(inspection, data)
        except PluginError as error:
            self._note(what, _name(validator), f"fails: {error}", {}, decides=True)
            return self._refused(what, told(Deny("", 500), self.facts.http is not None, early=False))
        found = {name: value for name, value in self.facts.learnt.items() if name not in known}
        facts = {name: shown(value) for name, value in found.items() if type(value) in (str, int, bool, tuple)}
        if isinstance(verdict, Allow):
            self._note(what, _name(validator), f"allows after {settled_at} of {len(data)} bytes", facts)
            return True
        if isinstance(verdict, Deny):
            words = f"denies after {settled_at} of {len(data)} bytes: {verdict.reason}"
            self._note(what, _name(validator), words, facts, decides=True)
            return self._refused(what, told(verdict, self.facts.http is not None, early=False))
        waits_for = f", {verdict.at_least} bytes at least" if verdict.at_least else ""
        words = f"undecided about these {len(data)} bytes: it waits for more{waits_for}, up to timeouts.inspect"
        if self.settings.inspect_expired == "pass":
            self._note(what, _name(validator), f"{words}, then lets it pass", facts)
            return True
        self._note(what, _name(validator), f"{words}, then refuses", facts, decides=True)
        return self._refused(what, told(Deny(""), self.facts.http is not None, early=False))

    # Routing

    def _route(self) -> None:
        frontend, facts = self.frontend, self.facts
        routing = frontend.routing
        if routing is None:
            self._goes_to(frontend.backend.name)
            return
        text = "where a policy has sent it" if facts.backend is not None else self._route_taken(facts)
        try:
            target = routing.target(facts, frontend.backend)
        except WireError as error:
            self._note("routes", text, f"refused: {error.reason}", {}, decides=True)
            self._refused("routes", f"the answer 400: {error.reason}")
            return
        if isinstance(target, Refusal):
            self._note("routes", text, f"refused: {target.reason}", {}, decides=True)
            verdict = with_last_words(Deny("", target.status), facts)
            self._refused("routes", told(verdict, facts.http is not None, early=False))
            return
        self._note("routes", text, f"to {target.name}", {})
        self._goes_to(target.name)

    def _goes_to(self, backend: str) -> None:
        self.told.backend, self.told.allowed, self.told.result = backend, True, f"goes to {backend}"

    def _route_taken(self, facts: Facts) -> str:
        rules = [(rule_of(route), number) for number, route in enumerate(self.settings.routes)]
        if not rules:
            return f'backend = "{self.settings.backend}"'
        try:
            number = Routes(rules, -1, facts.http is not None, self._scope.facts).find(facts)
        except WireError:
            return "routes that take its readings differently"
        return f"routes[{number}]" if number >= 0 else f'no route takes it: backend = "{self.settings.backend}"'


def _name(validator: Validator) -> str:
    return " or ".join(one.name for one in validator.members) if isinstance(validator, AnyOf) else validator.name


def _settled(inspection: Inspection, data: bytes) -> tuple[Verdict, int]:
    """Ask about the first byte, and about more and more as long as that is not enough.

    Returns: the verdict, and how many bytes it took.
    """
    length = 1
    while length < len(data):
        verdict = inspection.look(data[:length])
        if not isinstance(verdict, NeedMore):
            return verdict, length
        length = min(len(data), max(length + max(1, length // 16), verdict.at_least))
    return inspection.look(data), len(data)
