"""``use = "payload"``: the client's first bytes must be, or contain early on, what its protocol says.

Source: HAProxy configuration.txt, ``tcp-request content`` with ``req.payload``.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import ALLOW, ConfigError, Deny, Facts, IValidator, NeedMore, Options, Supply, Verdict, hookimpl


class PayloadOptions(Options, frozen=True):
    """What the payload must start with, as text or in hexadecimal digits; exactly one of the two.

    ``max_skip_bytes``: how many other bytes may come before it; 0 means that it must be the very first.
    """

    starts_with: str | None = None
    starts_with_hex: str | None = None
    max_skip_bytes: Annotated[int, Meta(ge=0, le=4096)] = 0


@implementer(IValidator)
class PayloadValidator:
    """Allows what begins with ``expected``, after at most ``max_skip_bytes`` other bytes."""

    def __init__(self, expected: bytes, max_skip_bytes: int) -> None:
        self._expected = expected
        self._max_skip_bytes = max_skip_bytes
        self._limit_bytes = max_skip_bytes + len(expected)
        self._mismatch = Deny("payload-mismatch")
        self._need = NeedMore(len(expected))

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Refuse at the first byte that cannot be right; keep no state, so cuts cannot matter."""
        expected = self._expected
        if data.find(expected, 0, self._limit_bytes) >= 0:
            return ALLOW
        if len(data) >= self._limit_bytes:
            return self._mismatch
        if self._max_skip_bytes:
            return NeedMore(max(len(expected), len(data) + 1))
        return self._need if expected.startswith(data) else self._mismatch


def build(options: PayloadOptions) -> PayloadValidator:
    """Build the validator.

    Raises: ConfigError when there is nothing, or two things, to look for, or what is not hexadecimal.
    """
    if (options.starts_with is None) == (options.starts_with_hex is None):
        raise ConfigError('it needs either "starts_with" or "starts_with_hex"')
    expected = (options.starts_with or "").encode()
    if options.starts_with_hex is not None:
        try:
            expected = bytes.fromhex(options.starts_with_hex)
        except ValueError:
            raise ConfigError(f'starts_with_hex: "{options.starts_with_hex}" is not in hexadecimal digits') from None
    if not 0 < len(expected) <= 4096:
        raise ConfigError(f"it must look for 1 to 4096 bytes, not for {len(expected)}")
    return PayloadValidator(expected, options.max_skip_bytes)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``payload``."""
    return {"payload": Supply(build, PayloadOptions)}
