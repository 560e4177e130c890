"""What is told of a walk: each step, what it used, and what came of it in the end."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted_lb.facts import Facts
from twisted_lb.rules.values import FactUse
from twisted_lb.stages.answers import REASONS
from twisted_lb.verdicts import Answer, Deny, HttpVerdict, Redirect

SHOWN = 200
"""Characters of a value that are shown."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """One question. ``what``: who was asked; ``text``: what the configuration says there; ``outcome``: the answer.

    ``facts``: what it used, or learnt, with values as they are shown. ``decides``: nobody behind it is asked.
    """

    what: str
    text: str
    outcome: str
    facts: Mapping[str, str] = field(default_factory=dict)
    decides: bool = False


@dataclass(slots=True)
class Explanation:
    """A whole walk. ``decided_by``: the step that ended it, empty if the connection simply went through.

    ``result``: what the client gets. ``backend``: where the connection, or request, goes; ``None`` if nowhere.
    """

    frontend: str
    source: str
    destination: str
    steps: list[Step] = field(default_factory=list)
    decided_by: str = ""
    result: str = ""
    backend: str | None = None
    allowed: bool = False

    def as_json(self) -> str:
        """Return all of it as a JSON object."""
        steps = [
            {"what": one.what, "text": one.text, "outcome": one.outcome, "facts": one.facts, "decides": one.decides}
            for one in self.steps
        ]
        said = {name: getattr(self, name) for name in self.__slots__ if name != "steps"}
        return json.dumps({**said, "steps": steps}, indent=2)

    def as_text(self) -> Iterator[str]:
        """Yield it line by line, for people."""
        yield f"{self.source} to {self.destination}, frontend {self.frontend}"
        for step in self.steps:
            yield ""
            yield f"{step.what}: {step.text}"
            for name, value in step.facts.items():
                yield f"    {name} is {value}"
            yield f"    {'=> ' if step.decides else ''}{step.outcome}"
        yield ""
        by = f" by {self.decided_by}" if self.decided_by else ""
        yield f"{'allowed' if self.allowed else 'refused'}{by}: {self.result}"


def shown(value: Any) -> str:
    """Spell a value of a fact in one line."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        text = f"[{', '.join(map(repr, value))}]"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def values_of(used: Iterable[FactUse], facts: Facts) -> dict[str, str]:
    """Return the facts that a rule uses with their values; what was never learnt is unknown."""
    return {one.name: shown(one.get(facts)) for one in used}


def told(verdict: Deny | HttpVerdict, to_request: bool, early: bool) -> str:
    """Say what the client gets. ``to_request``: there is one to answer; ``early``: no byte has been looked at yet."""
    if isinstance(verdict, Answer):
        return f"the answer {_status(verdict.status)} with {len(verdict.body)} bytes"
    if isinstance(verdict, Redirect):
        where = verdict.location if isinstance(verdict.location, str) else verdict.location.decode("utf-8", "replace")
        return f"the answer {_status(verdict.status)}, to {where}"
    if not isinstance(verdict, Deny):
        after = f"the answer {_status(verdict.status)}" if to_request else "a closed connection"
        return f"nothing for timeouts.tarpit, then {after}"
    how = verdict.how
    if to_request and how not in ("reset", "drop"):
        return f"the answer {_status(verdict.status)}"
    if how is None:
        how = "reset" if early else "close"
    words = {"reset": "a reset connection", "drop": "nothing, not even an end", "close": "a closed connection"}
    last = f", after {len(verdict.farewell)} last bytes" if verdict.farewell and how == "close" else ""
    return words[how] + last


def _status(status: int) -> str:
    return f"{status} {REASONS.get(status, '')}".rstrip()
