"""What happens to a connection, or a request, that meets a rule's condition."""

from collections.abc import Callable, Mapping

from twisted_lb.config.policies import Rule
from twisted_lb.errors import ConfigError
from twisted_lb.stages.answers import fault_in
from twisted_lb.verdicts import ALLOW_FINALLY, Allow, Answer, Decision, Deny, HttpFields, Redirect, Tarpit

ONLY_REFUSE = frozenset(("deny", "reject", "drop"))
"""Actions that end the connection and do nothing else, so that it does not matter if they are asked early."""


def _deny(rule: Rule) -> Decision:
    return Deny("", rule.status or 403, _fields(rule), "close")


def _tarpit(rule: Rule) -> Decision:
    return Tarpit("", rule.status or 500, _fields(rule))


def _redirect(rule: Rule) -> Decision:
    status = rule.status or 302
    return Redirect(rule.location or "", status, _fields(rule), "")  # type: ignore[arg-type]  # checked before


def _answer(rule: Rule) -> Decision:
    kind = rule.content_type or "text/plain; charset=utf-8"
    return Answer(rule.status or 200, (rule.body or "").encode(), (("Content-Type", kind), *_fields(rule)), "")


_VERDICTS: Mapping[str, Callable[[Rule], Decision]] = {
    "allow": lambda rule: ALLOW_FINALLY,
    "deny": _deny,
    "reject": lambda rule: Deny("", how="reset"),
    "drop": lambda rule: Deny("", how="drop"),
    "tarpit": _tarpit,
    "redirect": _redirect,
    "answer": _answer,
}


def verdict_of(action: str, rule: Rule) -> Decision:
    """Return what a rule, or a limit, with that action answers; always the same, so it is made once.

    Its reason is empty: the record then names the entry and the action. Raises: ConfigError for what cannot be sent.
    """
    verdict = _VERDICTS[action](rule)
    fault = "" if isinstance(verdict, Allow) else fault_in(verdict)
    if fault:
        raise ConfigError(fault)
    return verdict


def answers_request(action: str, rule: Rule, mode: str = "http") -> bool:
    """Whether the action needs a request to answer, and so waits for the stage policy; in that mode."""
    if mode == "tcp":
        return False
    return action in ("redirect", "answer", "tarpit") or rule.status is not None or bool(rule.headers)


def _fields(rule: Rule) -> HttpFields:
    return tuple(rule.headers.items())
