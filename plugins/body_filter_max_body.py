"""``use = "max_body"``: bodies of requests have a most length; a longer one is answered with 413.

Source: nginx, client_max_body_size.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import Deny, Facts, IBodyFilter, IBodyStream, Options, Supply, hookimpl


class MaxBodyOptions(Options, frozen=True):
    """``max_bytes``: how long a request's body may be."""

    max_bytes: Annotated[int, Meta(ge=0)]


TOO_LONG = Deny("the body is longer than max_bytes", 413)


@implementer(IBodyStream)
class Counting:
    """Lets ``left`` bytes pass."""

    keeps_length = True

    def __init__(self, left: int) -> None:
        self._left = left

    def feed(self, data: bytes) -> bytes | Deny:
        """Pass on what is not too much."""
        self._left -= len(data)
        return TOO_LONG if self._left < 0 else data

    def end(self) -> bytes:
        """Nothing is kept back."""
        return b""


@implementer(IBodyFilter)
class MaxBody:
    """Looks at the length that a request names, and counts where it names none."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def filter_request(self, facts: Facts) -> Counting | Deny | None:
        """Refuse before a byte of the body is read, if that can be known."""
        assert facts.http is not None
        length = facts.http.content_length
        if length < 0:
            return Counting(self._max_bytes)
        return TOO_LONG if length > self._max_bytes else None

    def filter_response(self, facts: Facts, response: object) -> None:
        """Let it be."""


def build(options: MaxBodyOptions) -> MaxBody:
    """Build the filter."""
    return MaxBody(options.max_bytes)


@hookimpl
def lb_body_filters() -> Mapping[str, Supply[IBodyFilter]]:
    """Supply ``max_body``."""
    return {"max_body": Supply(build, MaxBodyOptions)}
