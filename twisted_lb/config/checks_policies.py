"""What must hold for the rules among ``policies``: one action, and only what belongs to it; see ``checks``.

Each problem starts with its key. What the expressions say is judged when the plugins are known.
"""

from collections.abc import Iterator, Mapping

import msgspec

from twisted_lb.config.convert import INVALID
from twisted_lb.config.hints import quoted
from twisted_lb.config.model import Frontend
from twisted_lb.config.policies import RULE_ACTIONS, Rule

_ANSWER = frozenset(("status", "headers"))
SETTINGS: Mapping[str, frozenset[str]] = {
    "allow": frozenset(),
    "deny": _ANSWER,
    "reject": frozenset(),
    "drop": frozenset(),
    "tarpit": _ANSWER,
    "redirect": _ANSWER | {"location"},
    "answer": _ANSWER | {"body", "content_type"},
    "limit": frozenset(("action", "table", "if")),
    "track": frozenset(("if",)),
    "count": frozenset(("if",)),
}
"""Which settings each action takes; a limit also those of its action."""
_HTTP = frozenset(("status", "headers", "location", "body", "content_type"))
_REDIRECTS = (301, 302, 303, 307, 308)


def check_policies(where: str, frontend: Frontend) -> Iterator[str]:
    """Find rules with more than one action, and settings that do not belong to their action or mode."""
    if frontend.policies is INVALID:
        return
    for index, entry in enumerate(frontend.policies):
        if isinstance(entry, Rule):
            yield from _check_rule(f"{where}.policies[{index}]", entry, frontend.mode)


def _check_rule(where: str, rule: Rule, mode: object) -> Iterator[str]:
    actions = rule.actions
    if len(actions) > 1:
        yield f"{where}: {quoted(actions)} in one entry: write one entry for each, in the order in which they count"
    if len(actions) != 1:
        return  # misspelt, and told already
    action = rule.action or "deny" if actions == ["limit"] else actions[0]
    allowed = SETTINGS[actions[0]] | SETTINGS[action]
    for field in msgspec.structs.fields(Rule):
        key = field.encode_name
        if key in RULE_ACTIONS or _default(rule, field):
            continue
        if key not in allowed:
            takers = [name for name, keys in SETTINGS.items() if key in keys]
            yield f"{where}.{key}: does not belong to {action}, but to {', '.join(takers)}"
        elif key in _HTTP and mode == "tcp":
            yield f'{where}.{key}: only in mode = "http"; in TCP mode there is nobody to answer'
    if mode == "tcp" and action in ("redirect", "answer"):
        yield f'{where}.{"action" if rule.limit else action}: only in mode = "http"'
    yield from _check_answer(where, action, rule)


def _check_answer(where: str, action: str, rule: Rule) -> Iterator[str]:
    if action == "redirect" and not rule.location:
        yield f"{where}.location: is missing: where should the client go?"
    status = rule.status
    if status is None:
        return
    if action == "redirect" and status not in _REDIRECTS:
        yield f"{where}.status: a redirect has one of {', '.join(map(str, _REDIRECTS))}"
    if action in ("deny", "tarpit") and status < 400:
        yield f"{where}.status: a refusal has a status from 400 to 599; for another one write answer"


def _default(rule: Rule, field: msgspec.structs.FieldInfo) -> bool:
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return bool(getattr(rule, field.name) == default)
