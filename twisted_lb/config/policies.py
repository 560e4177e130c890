"""Entries of ``policies``: rules, and what plugins supply."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from twisted_lb.config.section import Section
from twisted_lb.config.uses import Use
from twisted_lb.config.values import Expression, FieldName, FieldValue

RULE_ACTIONS = ("allow", "deny", "reject", "drop", "tarpit", "redirect", "answer", "limit", "track", "count")
"""The keys by which an entry of ``policies`` is a rule; each entry has exactly one."""


class Rule(Section, frozen=True, kw_only=True):
    """An entry of ``policies`` that is a rule: one of ``RULE_ACTIONS`` with an expression, and what belongs to it.

    ``status``, ``headers``, ``location``, ``body``, ``content_type``: of the answer in HTTP mode; unset: the action's
    own. ``action``: what happens to who is beyond a ``limit``. ``track``, ``count``, ``table``: tables, or a counter of
    one, by name; ``if_``: in place of the expression that these, and ``limit``, are none of.
    """

    told_by: ClassVar[tuple[str, ...]] = RULE_ACTIONS

    allow: Expression | None = None
    deny: Expression | None = None
    reject: Expression | None = None
    drop: Expression | None = None
    tarpit: Expression | None = None
    redirect: Expression | None = None
    answer: Expression | None = None
    limit: Expression | None = None
    track: str | None = None
    count: str | None = None
    if_: Expression | None = msgspec.field(name="if", default=None)
    table: str | None = None
    action: Literal["deny", "reject", "drop", "tarpit", "redirect", "answer"] | None = None
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    headers: dict[FieldName, FieldValue] = {}
    location: FieldValue | None = None
    body: str | None = None
    content_type: FieldValue | None = None

    @property
    def actions(self) -> list[str]:
        """The keys of ``RULE_ACTIONS`` that are given."""
        return [key for key in RULE_ACTIONS if getattr(self, key) is not None]


Policy = Annotated[Use | Rule, Meta(extra={"supplies": "policies"})]
