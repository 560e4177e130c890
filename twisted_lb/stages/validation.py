"""Is what came so far what this frontend serves?

Stage: validation.
In: a frontend's ``validators``, all bytes that came so far, and the facts, to which validators add.
Out: ``Allow`` when all of them have, the first ``Deny``, or ``NeedMore``.
Never: consumes a byte, keeps more than ``PEEK_LIMIT``, or lets a connection on because a validator failed.
Source: ``api.IValidator``.
"""

from collections.abc import Sequence

from twisted_lb.api import IValidator
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.verdicts import ALLOW, Allow, Deny, NeedMore, Verdict

PEEK_LIMIT = 64 * 1024
"""Bytes kept at most while undecided. A post-quantum ClientHello takes a few KiB; HAProxy's buffer holds 16 KiB."""


def validate(validators: Sequence[Built[IValidator]], data: bytes, facts: Facts) -> Verdict:
    """Ask all validators in order about ``data``, which is not empty.

    Raises: PluginError.
    """
    for validator in validators:
        try:
            verdict = validator.object.validate(data, facts)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                validator.plugin, f"validator {validator.name!r} raised {shown(error)} in validate"
            ) from error
        match verdict:
            case Allow():
                continue
            case NeedMore() if len(data) >= PEEK_LIMIT or verdict.at_least > PEEK_LIMIT:
                return Deny(f"{validator.name}: undecided after {PEEK_LIMIT} bytes")
            case Deny() | NeedMore():
                return verdict
            case _:
                raise PluginError(
                    validator.plugin,
                    f"validator {validator.name!r} answered {shown(verdict)} in validate, which is no verdict",
                )
    return ALLOW
