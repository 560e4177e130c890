"""``use = "pop3"``: the server greets, the client waits for that, and then begins with a command of POP3.

What comes after the first command, ``STLS`` too, is not looked at.
Source: RFC 1939, sections 3, 4 and 7; RFC 2449, section 4; RFC 2595, 5034 and 6856.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    GreetedValidator,
    IStreamValidator,
    IValidator,
    LineProtocol,
    Options,
    Supply,
    WireError,
    facts_of_greeted,
    hookimpl,
)

VERBS = frozenset(b"USER PASS APOP AUTH CAPA STLS QUIT NOOP STAT LIST RETR DELE RSET TOP UIDL UTF8 LANG".split())


class Pop3Options(Options, frozen=True):
    """``max_line_bytes``: of the first command, CR LF included."""

    max_line_bytes: Annotated[int, Meta(ge=64, le=65536)] = 255
    accept_invalid: bool = False


def ends_greeting(line: bytes, before: bytes) -> None:
    """Take the greeting, which is one line: ``+OK``, or a refusal, ``-ERR``."""
    if line not in (b"+OK", b"-ERR") and not line.startswith((b"+OK ", b"-ERR ")):
        raise WireError("pop3-greeting")


@implementer(IStreamValidator)
class Pop3Validator(GreetedValidator):
    """Lets pass servers that greet as those of POP3 do, and clients that wait for it and then give a command."""


def build(options: Pop3Options) -> Pop3Validator:
    """Build the validator."""
    protocol = LineProtocol("pop3", ends_greeting, VERBS, options.max_line_bytes, b"-ERR protocol error\r\n")
    return Pop3Validator(protocol, accept_invalid=options.accept_invalid)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``pop3``."""
    return {"pop3": Supply(build, Pop3Options, mode="tcp", facts=facts_of_greeted("pop3"))}
