"""The only answers that a stage or a plugin gives about a connection."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on to the next question."""


@dataclass(frozen=True, slots=True)
class Deny:
    """End this connection. ``reason``: a few words for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Undecided until more bytes have come.

    ``at_least``: how many bytes there must be in all, from the first one on, before asking again is of any use; 0 if
    unknown.
    """

    at_least: int = 0


ALLOW = Allow()
NEED_MORE = NeedMore()

Verdict: TypeAlias = Allow | Deny | NeedMore
