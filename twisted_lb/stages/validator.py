"""One validator, asked about the first bytes of one connection.

Stage: validation.
In: a validator, all bytes that came so far, and the facts, to which it adds.
Out: its verdict; ``Deny`` too when it wants more than there may be.
Never: takes anything but a verdict for an answer.
Source: ``api.IValidator``, ``api.IStreamValidator``.
"""

from dataclasses import replace

from twisted_lb.contracts import IStreamValidator, IValidator
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in_parting
from twisted_lb.verdicts import ALLOW, Allow, Deny, NeedMore, Verdict

PEEK_LIMIT = 64 * 1024
"""Bytes kept at most while undecided. A post-quantum ClientHello takes a few KiB; HAProxy's buffer holds 16 KiB."""

PROTOCOL = "protocol"
"""The fact that says what a connection speaks."""


def ask(validator: Built[IValidator], data: bytes, facts: Facts) -> Verdict:
    """Ask one validator about ``data``, which is not empty; what it denies it denies in its name.

    Raises: PluginError.
    """
    try:
        verdict = validator.object.validate(data, facts)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(
            validator.plugin, f"validator {validator.name!r} raised {shown(error)} in validate"
        ) from error
    if verdict is ALLOW:
        return verdict
    match verdict:
        case Allow():
            return verdict
        case NeedMore() if len(data) >= PEEK_LIMIT or verdict.at_least > PEEK_LIMIT:
            return named(validator, Deny(f"undecided after {PEEK_LIMIT} bytes"))
        case NeedMore():
            return verdict
        case Deny():
            fault = fault_in_parting(verdict)
            if fault:
                what = f"validator {validator.name!r} answered {shown(verdict)} in validate: {fault}"
                raise PluginError(validator.plugin, what)
            return named(validator, verdict)
        case _:
            what = f"validator {validator.name!r} answered {shown(verdict)} in validate, which is no verdict"
            raise PluginError(validator.plugin, what)


def named(validator: Built[IValidator], verdict: Deny) -> Deny:
    """Return a refusal that says which validator it is of."""
    prefix = f"validator {validator.name}: "
    return verdict if verdict.reason.startswith(prefix) else replace(verdict, reason=prefix + verdict.reason)


def is_server_first(validator: Built[IValidator]) -> bool:
    """Whether it is of a protocol in which the server speaks first."""
    made = validator.object
    return IStreamValidator.providedBy(made) and bool(made.server_first)


def recognised(validator: Built[IValidator], facts: Facts) -> None:
    """Note what this connection speaks, if the validator did not say so itself."""
    facts.learnt.setdefault(PROTOCOL, getattr(validator.object, "speaks", validator.name))
