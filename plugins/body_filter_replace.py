"""``use = "replace"``: another text in place of one, wherever it stands in a body.

Source: nginx, ngx_http_sub_module.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, field
from zope.interface import implementer

from twisted_lb.api import ConfigError, Facts, IBodyFilter, IBodyStream, Options, Supply, hookimpl

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")


class ReplaceOptions(Options, frozen=True):
    """``new`` takes the place of ``old``, as UTF-8, in bodies of these media ``types``.

    ``types``: such as ``text/html``; empty for any, a body without a type included.
    """

    old: Annotated[str, Meta(min_length=1, max_length=256)]
    new: Annotated[str, Meta(max_length=4096)]
    body: Literal["request", "response"] = "response"
    types: list[str] = field(default_factory=lambda: ["text/html"])


@implementer(IBodyStream)
class Replacing:
    """One body. What may be the beginning of ``old`` is kept back until more has come."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.keeps_length = len(old) == len(new)
        self._old = old
        self._new = new
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """Replace every whole ``old``."""
        *whole, last = (self._kept + data).split(self._old)
        size = min(len(self._old) - 1, len(last))
        while not last.endswith(self._old[:size]):
            size -= 1
        self._kept = last[len(last) - size :]
        return self._new.join([*whole, last[: len(last) - size]])

    def end(self) -> bytes:
        """Return the beginning of ``old`` that nothing followed."""
        return self._kept


@implementer(IBodyFilter)
class Replace:
    """Replaces in the bodies of one direction."""

    def __init__(self, options: ReplaceOptions) -> None:
        self._old, self._new = options.old.encode(), options.new.encode()
        self._in_request = options.body == "request"
        self._types = frozenset(kind.lower().encode() for kind in options.types)

    def filter_request(self, facts: Facts) -> Replacing | None:
        """See to it that the server answers with whole bodies that can be read; replace in this one if it is asked."""
        assert facts.http is not None
        if self._in_request:
            return self._replacing(facts.http.headers)
        for name in (b"accept-encoding", b"range", b"if-range"):
            facts.http.headers.remove(name)
        return None

    def filter_response(self, facts: Facts, response: Any) -> Replacing | None:
        """Replace if it is asked; what was said of the body before is not true any more then."""
        if self._in_request or response.status == 206:
            return None
        replacing = self._replacing(response.headers)
        if replacing is not None:
            for name in (b"etag", b"accept-ranges", b"content-md5", b"content-digest", b"repr-digest", b"digest"):
                response.headers.remove(name)
        return replacing

    def _replacing(self, headers: Any) -> Replacing | None:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if self._types and kind not in self._types:
            return None
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return None  # compressed against our wish: there is no text in it
        return Replacing(self._old, self._new)


def build(options: ReplaceOptions) -> Replace:
    """Build the filter. Raises: ConfigError for what would never replace anything."""
    problems = [
        f'types: "{kind}" is no media type such as "text/html"; parameters do not matter'
        for kind in options.types
        if _TYPE.fullmatch(kind) is None
    ]
    if options.old == options.new:
        problems.append('new: is the same as "old"')
    if problems:
        raise ConfigError(*problems)
    return Replace(options)


@hookimpl
def lb_body_filters() -> Mapping[str, Supply[IBodyFilter]]:
    """Supply ``replace``."""
    return {"replace": Supply(build, ReplaceOptions)}
