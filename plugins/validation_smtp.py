"""``use = "smtp"``: the server greets, the client waits for that, and then begins with a command of SMTP.

What comes after the first command, ``STARTTLS`` too, is not looked at; ``smtp_commands`` stays.
Source: RFC 5321, sections 3.1, 4.1.1, 4.2 and 4.5.3.1; RFC 2033 for LHLO.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    Fact,
    FactType,
    GreetedValidator,
    IStreamValidator,
    IValidator,
    LineProtocol,
    Options,
    Stage,
    Supply,
    WireError,
    facts_of_greeted,
    hookimpl,
)

VERBS = frozenset(
    b"EHLO HELO LHLO MAIL RCPT DATA BDAT RSET VRFY EXPN HELP NOOP QUIT STARTTLS AUTH ETRN ATRN BURL "
    b"SEND SOML SAML TURN XCLIENT XFORWARD".split()
)
FACTS = {
    **facts_of_greeted("smtp"),
    "smtp.helo": Fact(FactType.STRING, "the name that the client gives itself in EHLO, HELO or LHLO", Stage.RELAY),
}
_GREETING = re.compile(rb"(220|421|554)(?:([ -]).*)?")
_NAME = re.compile(rb"[!-~\x80-\xff]{1,255}")


class SmtpOptions(Options, frozen=True):
    """``max_line_bytes``: of the first command, CR LF included."""

    max_line_bytes: Annotated[int, Meta(ge=64, le=65536)] = 512
    accept_invalid: bool = False


def ends_greeting(line: bytes, before: bytes) -> bytes | None:
    """Take a line of the greeting: ``220``, or the refusals ``421`` and ``554``; a ``-`` says that more follow."""
    match = _GREETING.fullmatch(line)
    if match is None or (before and match[1] != before):
        raise WireError("smtp-greeting")
    return match[1] if match[2] == b"-" else None


def check(verb: bytes, arguments: bytes) -> dict[str, str]:
    """Learn the name that a client gives itself, which must be one word."""
    if verb not in (b"EHLO", b"HELO", b"LHLO"):
        return {}
    name = arguments.strip(b" ")
    if _NAME.fullmatch(name) is None:
        raise WireError("smtp-helo", 5)
    return {"smtp.helo": name.decode("utf-8", "backslashreplace")}


@implementer(IStreamValidator)
class SmtpValidator(GreetedValidator):
    """Lets pass servers that greet as those of SMTP do, and clients that wait for it and then give a command."""


def build(options: SmtpOptions) -> SmtpValidator:
    """Build the validator."""
    refusal = b"554 5.5.1 Protocol error\r\n"
    protocol = LineProtocol("smtp", ends_greeting, VERBS, options.max_line_bytes, refusal, check=check)
    return SmtpValidator(protocol, accept_invalid=options.accept_invalid)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``smtp``."""
    return {"smtp": Supply(build, SmtpOptions, mode="tcp", facts=FACTS)}
