"""``use = "imap"``: the server greets, the client waits for that, and then begins with a command of IMAP.

What comes after the first command, ``STARTTLS`` too, is not looked at.
Source: RFC 3501 and 9051, sections 2.2.1, 6, 7.1 and 9; RFC 7162, section 4, for the length of lines.
"""

import re
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

VERBS = frozenset(
    b"CAPABILITY NOOP LOGOUT STARTTLS AUTHENTICATE LOGIN ID ENABLE COMPRESS NAMESPACE IDLE LANGUAGE SELECT EXAMINE "
    b"CREATE DELETE RENAME SUBSCRIBE UNSUBSCRIBE LIST LSUB XLIST STATUS APPEND CHECK CLOSE UNSELECT EXPUNGE SEARCH "
    b"FETCH STORE COPY MOVE UID SORT THREAD GETQUOTA GETQUOTAROOT SETQUOTA GETACL SETACL DELETEACL LISTRIGHTS MYRIGHTS "
    b"GETMETADATA SETMETADATA NOTIFY".split()
)
_GREETING = re.compile(rb"\* (?:OK|PREAUTH|BYE)(?: .*)?", re.IGNORECASE)


class ImapOptions(Options, frozen=True):
    """``max_line_bytes``: of the first command's first line, CR LF included."""

    max_line_bytes: Annotated[int, Meta(ge=128, le=65536)] = 8192
    accept_invalid: bool = False


def ends_greeting(line: bytes, before: bytes) -> None:
    """Take the greeting, which is one line: ``* OK``, ``* PREAUTH``, or a refusal, ``* BYE``."""
    if _GREETING.fullmatch(line) is None:
        raise WireError("imap-greeting")


@implementer(IStreamValidator)
class ImapValidator(GreetedValidator):
    """Lets pass servers that greet as those of IMAP do, and clients that wait for it and then give a command."""


def build(options: ImapOptions) -> ImapValidator:
    """Build the validator."""
    refusal = b"* BYE protocol error\r\n"
    protocol = LineProtocol("imap", ends_greeting, VERBS, options.max_line_bytes, refusal, tagged=True)
    return ImapValidator(protocol, accept_invalid=options.accept_invalid)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``imap``."""
    return {"imap": Supply(build, ImapOptions, mode="tcp", facts=facts_of_greeted("imap"))}
