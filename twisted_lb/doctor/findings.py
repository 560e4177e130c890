"""What the doctor says about one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``missing``: what the configuration asks for will not work; ``advice``: it works, less well than it might."""

    OK = "ok"
    MISSING = "missing"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``what``: how it is. ``why``: what wants it otherwise, with the dotted key. ``commands``: lines for a shell that put
    it right, empty if none can.
    """

    severity: Severity
    what: str
    why: str
    commands: tuple[str, ...] = ()


def ok(what: str, why: str) -> Finding:
    """All is well."""
    return Finding(Severity.OK, what, why)


def missing(what: str, why: str, *commands: str) -> Finding:
    """What the configuration asks for will not work."""
    return Finding(Severity.MISSING, what, why, commands)


def advice(what: str, why: str, *commands: str) -> Finding:
    """It works, less well than it might."""
    return Finding(Severity.ADVICE, what, why, commands)
