"""A plugin for tests: body filters that do simple things, and one that misbehaves as its option ``how`` says."""

from collections.abc import Mapping
from typing import Any, Literal

from zope.interface import implementer

from twisted_lb.api import Deny, Facts, IBodyFilter, IBodyStream, Options, Supply, hookimpl

Place = Literal["request", "response"]


class Where(Options, frozen=True):
    """``on``: which bodies."""

    on: Place = "response"
    text: str = "!"
    how: Literal["raises", "nonsense", "bomb", "deny", "deny head", "head raises", "lies"] = "raises"


@implementer(IBodyStream)
class Stream:
    """Puts ``text`` before each piece, and at the end."""

    keeps_length = False

    def __init__(self, options: Where) -> None:
        self.text = options.text.encode()
        self.how = options.how

    def feed(self, data: bytes) -> Any:
        return [self.text, data]

    def end(self) -> bytes:
        return b"end" + self.text


class Upper(Stream):
    """Small letters become capitals."""

    keeps_length = True

    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def end(self) -> bytes:
        return b""


class Broken(Stream):
    """Lets a body pass up to the word ``now``."""

    @property
    def keeps_length(self) -> bool:  # type: ignore[override]
        return self.how == "lies"

    def feed(self, data: bytes) -> Any:
        if b"now" not in data:
            return data
        if self.how == "raises":
            raise RuntimeError("misbehaving on purpose")
        answers = {"nonsense": 1, "bomb": bytes(2 << 20), "deny": Deny("found it", 422), "lies": b"more" + data}
        return answers[self.how]

    def end(self) -> bytes:
        return b""


@implementer(IBodyFilter)
class Filter:
    """Gives a stream to the bodies of one direction, and marks their heads."""

    def __init__(self, options: Where, kind: type[Stream]) -> None:
        self.options = options
        self.kind = kind

    def filter_request(self, facts: Facts) -> Any:
        assert facts.http is not None
        return self.answer("request", facts.http.headers)

    def filter_response(self, facts: Facts, response: Any) -> Any:
        return self.answer("response", response.headers)

    def answer(self, place: Place, headers: Any) -> Any:
        if self.options.on != place or b"x-skip" in headers:
            return None
        if self.kind is Broken and self.options.how == "head raises":
            raise RuntimeError("misbehaving on purpose")
        if self.kind is Broken and self.options.how == "deny head":
            return Deny("not this one", 451)
        headers.set(b"X-Filtered", self.options.text.encode())
        return self.kind(self.options)


@hookimpl
def lb_body_filters() -> Mapping[str, Supply[IBodyFilter]]:
    return {
        "mark": Supply(lambda options: Filter(options, Stream), Where),
        "upper": Supply(lambda options: Filter(options, Upper), Where),
        "broken": Supply(lambda options: Filter(options, Broken), Where),
    }
