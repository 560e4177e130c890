"""``use = "ftp"``: the server greets, the client waits for that, and then begins with a command of FTP.

The connections that carry files are others, and pass through frontends of their own.
Source: RFC 959, sections 4.2 and 5.4; the commands of RFC 775, 1639, 2228, 2389, 2428, 2640, 3659 and 7151.
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
    b"USER PASS ACCT CWD CDUP SMNT QUIT REIN PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR RNTO ABOR "
    b"DELE RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP XMKD XRMD XPWD XCUP XCWD LPRT LPSV AUTH ADAT PROT PBSZ CCC "
    b"MIC CONF ENC FEAT OPTS EPRT EPSV LANG MDTM SIZE MLST MLSD HOST CLNT".split()
)
_REPLY = re.compile(rb"(120|220|421)(?:([ -]).*)?")


class FtpOptions(Options, frozen=True):
    """``max_line_bytes``: of the first command, CR LF included; no standard has a limit, servers have this one."""

    max_line_bytes: Annotated[int, Meta(ge=64, le=65536)] = 4096
    accept_invalid: bool = False


def ends_greeting(line: bytes, before: bytes) -> bytes | None:
    """Take a line of the greeting: ``220``; ``120`` and later ``220``; or ``421``.

    After a first line with a ``-`` any lines may follow, up to one with the same code and a blank.
    """
    match = _REPLY.fullmatch(line)
    if before.endswith(b"-"):
        if match is None or match[2] == b"-" or match[1] != before[:-1]:
            return before
    elif match is None:
        raise WireError("ftp-greeting")
    if match[2] == b"-":
        return match[1] + b"-"
    return match[1] if match[1] == b"120" else None


@implementer(IStreamValidator)
class FtpValidator(GreetedValidator):
    """Lets pass servers that greet as those of FTP do, and clients that wait for it and then give a command."""


def build(options: FtpOptions) -> FtpValidator:
    """Build the validator."""
    protocol = LineProtocol("ftp", ends_greeting, VERBS, options.max_line_bytes, b"421 Protocol error\r\n")
    return FtpValidator(protocol, accept_invalid=options.accept_invalid)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``ftp``."""
    return {"ftp": Supply(build, FtpOptions, mode="tcp", facts=facts_of_greeted("ftp"))}
