"""Policies made by chance, and what a naive reader of the documentation thinks that they lead to; imported by tests.

The reader asks one entry after the other, each about everything, and knows nothing of what sessions do to be quick.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from tests.rules.compiled import HTTP, TCP
from twisted_lb.api import ALLOW, ALLOW_FINALLY, Allow, Deny, Facts, Stage
from twisted_lb.rules.expression import compile_expression
from twisted_lb.rules.rule import RulePolicy

BACKENDS = ("app", "other")
CONDITIONS = [
    "source == '192.0.2.1'",
    "source != '192.0.2.1'",
    "source in '203.0.113.0/24'",
    "source.port > 45000",
    "false",
    "destination.port == 443",
]
"""What can be asked at admission. Behind a PROXY header the source is another one."""
LATE_CONDITIONS = [
    *CONDITIONS,
    "mqtt.user == 'a'",
    "mqtt.user != 'a'",
    "dns.opcode > 5",
    "not dns.opcode > 5",
    "'h2' in tls.alpn",
    "tls.ech",
    "known(mqtt.user) and not tls.ech",
]
REQUEST_CONDITIONS = [*LATE_CONDITIONS, "http.target == '/a'", "http.path == '/a'", "known(http.headers['x'])"]
LEARNT: dict[str, Sequence[Any]] = {
    "mqtt.user": ["a", "b", None, 7],
    "dns.opcode": [1, 9, None, "x"],
    "tls.alpn": [("h2",), (), None, 3],
    "tls.ech": [True, False, None],
}
"""What a validator may have learnt, also what it should not."""


class Plugin:
    """A plugin's policy that says the same each time; ``late``: it takes its time. ``goes_to``: the backend it sets."""

    def __init__(self, number: int, stage: Stage, answer: Any, goes_to: str | None, late: bool) -> None:
        self.number = number
        self.stage = stage
        self.answer = answer
        self.goes_to = goes_to
        self.late = late
        self.asked: list[int] = []
        self.waiting: list[Deferred[Any]] = []

    def say(self, facts: Facts) -> Any:
        """Do what it does, at once."""
        if self.goes_to is not None:
            facts.backend = self.goes_to
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def decide(self, facts: Facts) -> Any:
        """See ``IPolicy``."""
        self.asked.append(self.number)
        said = self.say(facts)
        if not self.late:
            return said
        later: Deferred[Any] = Deferred()
        self.waiting.append(later)
        return later

    def answer_now(self) -> bool:
        """Say what it owes; returns whether it owed anything."""
        waiting = [one for one in self.waiting if not one.called]
        self.waiting.clear()
        for one in waiting:
            one.callback(self.answer)
        return bool(waiting)


def policies(chance: Random, mode: str = "tcp") -> list[Any]:
    """Make up to nine entries, rules and plugins' policies, of both stages."""
    return [_policy(chance, number, mode) for number in range(1, chance.randint(2, 10))]


def _policy(chance: Random, number: int, mode: str) -> Any:
    if chance.random() < 0.7:
        behind = LATE_CONDITIONS if mode == "tcp" else REQUEST_CONDITIONS
        text = chance.choice(CONDITIONS if chance.random() < 0.5 else behind)
        action = chance.choice(["allow", "deny", "deny", "reject"])
        compiled = compile_expression(text, TCP if mode == "tcp" else HTTP)
        verdict = ALLOW_FINALLY if action == "allow" else Deny("", how="reset" if action == "reject" else None)
        return RulePolicy(compiled, verdict, action)
    answer = chance.choice([ALLOW, ALLOW, ALLOW, Allow(), ALLOW_FINALLY, Deny("no"), SystemExit(), None])
    goes_to = chance.choice([None, None, "app", "other", "nowhere"])
    late = chance.random() < 0.3 and not isinstance(answer, BaseException)
    return Plugin(number, chance.choice([Stage.ADMISSION, Stage.POLICY]), answer, goes_to, late)


def learnt(chance: Random) -> dict[str, Any]:
    """Make up what a validator has learnt; of some facts nothing."""
    return {name: chance.choice(values) for name, values in LEARNT.items() if chance.random() < 0.7}


def described(made: Sequence[Any]) -> list[Any]:
    """Spell entries for who has to find out what is wrong."""
    return [(one.label, one.compiled.text) if isinstance(one, RulePolicy) else vars(one) for one in made]


def all_answer(made: Sequence[Any]) -> bool:
    """Let all plugins' policies say what they owe; returns whether any owed something."""
    return any([one.answer_now() for one in made if isinstance(one, Plugin)])  # noqa: C419  all of them


class Outcome(NamedTuple):
    """``backend``: where it goes, ``None`` if it is refused, in ``stage``. ``by``: the number of the deciding entry.

    ``asked``: the plugins' policies that were asked, in their order.
    """

    backend: str | None
    by: int
    asked: list[int]
    final: bool = False
    failed: bool = False
    stage: str = ""


def in_order(made: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Say which entries are asked at admission, and which behind validation."""
    early: list[int] = []
    late: list[int] = []
    for number, one in enumerate(made, 1):
        refuses = all(isinstance(made[n - 1], RulePolicy) and made[n - 1].label != "allow" for n in [*late, number])
        (early if one.stage is Stage.ADMISSION and (not late or refuses) else late).append(number)
    return early, late


def naively(made: Sequence[Any], numbers: Sequence[int], facts: Facts) -> Outcome:
    """Ask those entries one by one."""
    asked: list[int] = []
    for number in numbers:
        policy = made[number - 1]
        try:
            if isinstance(policy, Plugin):
                asked.append(number)
                said = policy.say(facts)
            else:
                said = policy.decide(facts)
        except BaseException:
            return Outcome(None, number, asked, failed=True)
        if isinstance(said, Deny):
            return Outcome(None, number, asked)
        if not isinstance(said, Allow) or facts.backend not in (None, *BACKENDS):
            return Outcome(None, number, asked, failed=True)
        if said.final:
            return Outcome(facts.backend or "app", number, asked, final=True)
    return Outcome(facts.backend or "app", 0, asked)
