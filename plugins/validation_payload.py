"""``use = "payload"``: the client's first bytes must be, or contain early on, what its protocol says.

Source: HAProxy configuration.txt, ``tcp-request content`` with ``req.payload`` and ``req.len``.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    Allow,
    ConfigError,
    Deny,
    Facts,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    Options,
    StreamPattern,
    Supply,
    Verdict,
    hookimpl,
    protocol_fact,
)

FACTS = {"protocol": protocol_fact()}
_MISMATCH = Deny("payload-mismatch")
_LONG = Deny("payload-long")


WITHIN_BYTES = 1024
"""How far a regular expression looks where nothing else is said."""


class PayloadOptions(Options, frozen=True):
    """What the payload must be; all that is given must hold.

    ``starts_with``, ``starts_with_hex``: its beginning, as text or in hexadecimal digits; one of the two.
    ``max_skip_bytes``: how many other bytes may come before that; 0 means that it must be the very first.
    ``matches``: a regular expression that is found within the first ``within_bytes``. ``min_length``, ``max_length``:
    how many bytes the client may send before the server answers. ``protocol``: the fact of that name.
    """

    starts_with: str | None = None
    starts_with_hex: str | None = None
    max_skip_bytes: Annotated[int, Meta(ge=0, le=4096)] = 0
    matches: str | None = None
    within_bytes: Annotated[int, Meta(ge=1, le=4096)] = WITHIN_BYTES
    min_length: Annotated[int, Meta(ge=1, le=60000)] | None = None
    max_length: Annotated[int, Meta(ge=1)] | None = None
    protocol: str | None = None


class Beginning:
    """``expected``, after at most ``max_skip_bytes`` other bytes."""

    def __init__(self, expected: bytes, max_skip_bytes: int) -> None:
        self._expected = expected
        self._max_skip_bytes = max_skip_bytes
        self._need = NeedMore(len(expected))
        self.limit_bytes = max_skip_bytes + len(expected)

    def judge(self, data: bytes) -> Verdict:
        """Refuse at the first byte that cannot be right."""
        expected = self._expected
        if data.find(expected, 0, self.limit_bytes) >= 0:
            return ALLOW
        if len(data) >= self.limit_bytes:
            return _MISMATCH
        if self._max_skip_bytes:
            return NeedMore(max(len(expected), len(data) + 1))
        return self._need if expected.startswith(data) else _MISMATCH


class Match:
    """What ``pattern`` finds within the first ``limit_bytes``."""

    def __init__(self, pattern: StreamPattern, limit_bytes: int) -> None:
        self._pattern = pattern
        self.limit_bytes = limit_bytes

    def judge(self, data: bytes) -> Verdict:
        """Refuse as soon as no more bytes can bring it."""
        found = self._pattern.found_in(data[: self.limit_bytes])
        if found:
            return ALLOW
        return NeedMore(len(data) + 1) if found is None and len(data) < self.limit_bytes else _MISMATCH


@implementer(IValidator)
class PayloadValidator:
    """Allows what is all that it must be; keeps no state, so cuts cannot matter."""

    def __init__(self, conditions: list[Beginning | Match], min_length: int, protocol: str | None) -> None:
        self._conditions = conditions
        self._min_length = min_length
        self._protocol = protocol
        self.takes_anything = not conditions

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Refuse what cannot be right any more, whatever follows."""
        needs: list[int] = []
        for condition in self._conditions:
            verdict = condition.judge(data)
            if isinstance(verdict, Deny):
                return verdict
            if isinstance(verdict, NeedMore):
                needs.append(verdict.at_least)
        if len(data) < self._min_length:
            needs.append(self._min_length)
        if needs:
            return NeedMore(min(needs))  # so many may be enough to refuse it
        if self._protocol is not None:
            facts.learnt["protocol"] = self._protocol
        return ALLOW


@implementer(IStreamValidator)
class BoundedPayloadValidator(PayloadValidator):
    """As that one, but counts what the client sends until the server answers."""

    server_first = False

    def __init__(
        self, conditions: list[Beginning | Match], min_length: int, protocol: str | None, max_length: int
    ) -> None:
        super().__init__(conditions, min_length, protocol)
        self.max_length = max_length

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Refuse what is too long or cannot be right any more."""
        verdict = super().validate(data[: self.max_length], facts)
        return _LONG if len(data) > self.max_length and not isinstance(verdict, Deny) else verdict

    def watch(self, facts: Facts) -> "LengthWatch":
        """Watch until the server answers."""
        return LengthWatch(self.max_length)


@implementer(IStreamWatch)
class LengthWatch:
    """One connection; ``max_length``: of all that the client says before the server says anything."""

    __slots__ = ("_answered", "_room")

    def __init__(self, max_length: int) -> None:
        self._room = max_length
        self._answered = False

    def client_said(self, data: bytes) -> Allow | Deny:
        """Count, until the server has answered."""
        if self._answered:
            return ALLOW_FINALLY
        self._room -= len(data)
        return _LONG if self._room < 0 else ALLOW

    def server_said(self, data: bytes) -> Allow:
        """The client may speak again."""
        self._answered = True
        return ALLOW_FINALLY


def build(options: PayloadOptions) -> PayloadValidator:
    """Build the validator.

    Raises: ConfigError when nothing is asked for, two beginnings are, what is not hexadecimal, an expression that
        cannot be, or lengths that rule each other out.
    """
    problems = list(_faults(options))
    if problems:
        raise ConfigError(*problems)
    conditions: list[Beginning | Match] = []
    if options.starts_with is not None or options.starts_with_hex is not None:
        conditions.append(Beginning(_expected(options), options.max_skip_bytes))
    if options.matches is not None:
        conditions.append(Match(_pattern(options.matches), options.within_bytes))
    shortest, longest = options.min_length or 0, options.max_length
    if not (conditions or shortest or longest):
        raise ConfigError('it needs "starts_with" or "starts_with_hex", "matches", "min_length" or "max_length"')
    if longest is None:
        return PayloadValidator(conditions, shortest, options.protocol)
    most = max([shortest, *(condition.limit_bytes for condition in conditions)])
    if longest < most:
        raise ConfigError(f"max_length: must be {most} at least, for so many bytes are looked at")
    return BoundedPayloadValidator(conditions, shortest, options.protocol, longest)


def _faults(options: PayloadOptions) -> Iterator[str]:
    begins = options.starts_with is not None or options.starts_with_hex is not None
    if options.starts_with is not None and options.starts_with_hex is not None:
        yield 'it takes either "starts_with" or "starts_with_hex"'
    if options.max_skip_bytes and not begins:
        yield 'max_skip_bytes: only beside "starts_with" or "starts_with_hex"'
    if options.within_bytes != WITHIN_BYTES and options.matches is None:
        yield 'within_bytes: only beside "matches"'
    if options.protocol == "":
        yield "protocol: is empty: give a name, or leave it out"


def _pattern(text: str) -> StreamPattern:
    try:
        return StreamPattern(text)
    except ConfigError as error:
        raise ConfigError(*(f"matches: {problem}" for problem in error.problems)) from None


def _expected(options: PayloadOptions) -> bytes:
    expected = (options.starts_with or "").encode()
    if options.starts_with_hex is not None:
        try:
            expected = bytes.fromhex(options.starts_with_hex)
        except ValueError:
            raise ConfigError(f'starts_with_hex: "{options.starts_with_hex}" is not in hexadecimal digits') from None
    if not 0 < len(expected) <= 4096:
        option = "starts_with" if options.starts_with is not None else "starts_with_hex"
        raise ConfigError(f"{option}: it must look for 1 to 4096 bytes, not for {len(expected)}")
    return expected


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``payload``."""
    return {"payload": Supply(build, PayloadOptions, facts=FACTS)}
