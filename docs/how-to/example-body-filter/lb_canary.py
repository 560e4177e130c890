"""``use = "canary"``: a response in which a certain text stands never leaves: a row that no query should find."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import Deny, Facts, IBodyFilter, IBodyStream, Options, Supply, hookimpl


class CanaryOptions(Options, frozen=True):
    """``text``: what must not get out."""

    text: Annotated[str, Meta(min_length=8)]


@implementer(IBodyStream)
class Watch:
    """One response. The last bytes wait for the next ones, since the text may be cut anywhere."""

    keeps_length = True  # it passes on what it gets, if a little later

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._held = b""

    def feed(self, data: bytes) -> bytes | Deny:
        """Pass on what cannot be a part of the text any more."""
        data = self._held + data
        if self._text in data:
            return Deny("a canary was about to leave", 502)
        safe = max(0, len(data) + 1 - len(self._text))
        self._held = data[safe:]
        return data[:safe]

    def end(self) -> bytes:
        """Pass on the rest, which is too short to be the text."""
        return self._held


@implementer(IBodyFilter)
class Canary:
    """Watches every response."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def filter_request(self, facts: Facts) -> None:
        """Let the request's body pass, but ask the server for text that can be read."""
        assert facts.http is not None
        facts.http.headers.remove(b"accept-encoding")

    def filter_response(self, facts: Facts, response: Any) -> Watch | Deny:
        """Watch the body; one that cannot be read does not pass at all."""
        if b"content-encoding" in response.headers:
            return Deny("a compressed response cannot be watched", 502)
        return Watch(self._text)


def build(options: CanaryOptions) -> Canary:
    """Build the filter of one frontend."""
    return Canary(options.text.encode())


@hookimpl
def lb_body_filters() -> Mapping[str, Supply[IBodyFilter]]:
    """Supply ``canary``."""
    return {"canary": Supply(build, CanaryOptions)}
