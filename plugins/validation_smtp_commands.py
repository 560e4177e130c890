"""``use = "smtp_commands"``: which commands clients of a mail server may give, as long as they are connected.

Source: RFC 5321, section 4.1.1; RFC 3207.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    NEED_MORE,
    Allow,
    ConfigError,
    Deny,
    Facts,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    Options,
    SmtpDialogue,
    Supply,
    TlsStart,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
)

FACTS = {"protocol": protocol_fact("smtp")}
_VERB = re.compile(r"[A-Za-z][A-Za-z0-9]{0,30}")


class SmtpCommandsOptions(Options, frozen=True):
    """Verbs, such as ``VRFY``. ``deny`` wins over ``allow``; without ``allow`` all are allowed that are not denied.

    ``after_starttls``: behind it nothing can be read any more; ``"refuse"`` does not let it come to that.
    ``max_line_bytes``: of a command. It must be less than what the server reads as one line.
    """

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    after_starttls: Literal["pass", "refuse"] = "pass"
    max_line_bytes: Annotated[int, Meta(ge=64, le=12288)] = 2000


def _verbs(entries: Iterable[str], option: str) -> frozenset[str]:
    wrong = next((entry for entry in entries if _VERB.fullmatch(entry) is None), None)
    if wrong is not None:
        raise ConfigError(f'{option}: "{wrong}" is no command such as "VRFY"')
    return frozenset(entry.upper() for entry in entries)


@implementer(IStreamValidator)
class SmtpCommandsValidator:
    """Judges every command of a client until it speaks TLS."""

    server_first = True
    speaks = "smtp"

    def __init__(self, options: SmtpCommandsOptions) -> None:
        if not options.deny and options.allow is None and options.after_starttls == "pass":
            raise ConfigError('it needs "deny", "allow" or after_starttls = "refuse"')
        self._denied = _verbs(options.deny, "deny")
        self._allowed = None if options.allow is None else _verbs(options.allow, "allow")
        both = sorted(self._denied & (self._allowed or frozenset()))
        if both:
            raise ConfigError(*(f'allow: "{one}" is in deny too, which wins, so it is never allowed' for one in both))
        self._max_line_bytes = options.max_line_bytes
        self.refuses_tls = options.after_starttls == "refuse"

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge what comes before the greeting, from its first whole command on; it is judged again with the rest."""
        verdict = self.judge(self.dialogue(), data)
        return NEED_MORE if verdict is ALLOW and b"\n" not in data else verdict

    def dialogue(self) -> SmtpDialogue:
        """Begin to read a connection."""
        return SmtpDialogue(self._max_line_bytes)

    def judge(self, dialogue: SmtpDialogue, data: bytes) -> Allow | Deny:
        """Judge each command that ends in ``data``."""
        try:
            for verb in dialogue.client_said(data):
                if verb in self._denied or (self._allowed is not None and verb not in self._allowed):
                    return Deny(f"smtp-command-denied {verb}", farewell=f"554 5.7.1 {verb} not allowed\r\n".encode())
        except WireError as error:
            return broken(error)
        return ALLOW

    def watch(self, facts: Facts) -> "SmtpCommandsWatch":
        """Watch to the end, or until TLS begins."""
        facts.learnt["protocol"] = "smtp"
        return SmtpCommandsWatch(self)


def broken(error: WireError) -> Deny:
    """Refuse what cannot be told apart; then it cannot be judged."""
    return Deny(error.reason, farewell=f"554 5.5.2 protocol error: {error.reason}\r\n".encode())


@implementer(IStreamWatch)
class SmtpCommandsWatch:
    """One connection."""

    __slots__ = ("_dialogue", "_over", "_tls", "_validator")

    def __init__(self, validator: SmtpCommandsValidator) -> None:
        self._validator = validator
        self._dialogue = validator.dialogue()
        self._tls: TlsStart | None = None
        self._over = False

    def client_said(self, data: bytes) -> Allow | Deny:
        """Let ``data`` pass if no command that ends in it is denied."""
        if self._tls is None:
            return self._validator.judge(self._dialogue, data)
        try:
            self._over = self._tls.feed(data)
        except WireError as error:
            return Deny(error.reason)
        return ALLOW_FINALLY if self._over else ALLOW

    def server_said(self, data: bytes) -> Allow | Deny:
        """Read the replies, which say what the client's next bytes are."""
        if self._over:
            return ALLOW_FINALLY
        dialogue = self._dialogue
        try:
            dialogue.server_said(data)
        except WireError as error:
            return Deny(error.reason, farewell=b"421 4.3.0 service not available\r\n")
        if dialogue.encrypted:
            if self._validator.refuses_tls:
                return Deny("smtp-starttls", farewell=b"454 4.7.0 TLS not available\r\n")
            self._tls = TlsStart("smtp-no-tls")
        return ALLOW


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``smtp_commands``."""
    return {"smtp_commands": Supply(SmtpCommandsValidator, SmtpCommandsOptions, mode="tcp", facts=FACTS)}
