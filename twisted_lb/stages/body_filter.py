"""What body filters make of a body, in the order of the configuration.

Stage: body (requests are looked at) and response, relay (bodies pass).
In: a frontend's ``body_filters``, the heads, and bodies without their framing, piece by piece.
Out: other bytes, or ``Deny``; a filter that fails is a ``PluginError``.
Never: lets a body pass unfiltered because a filter failed, or one call make more than ``MOST_BYTES`` of a piece.
Source: ``api.IBodyFilter``; docs/explanation/robustness.md, on failing closed.
"""

from collections.abc import Sequence
from typing import Any, Literal

from twisted_lb.contracts import IBodyFilter
from twisted_lb.errors import PluginError, shown
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in
from twisted_lb.verdicts import Deny

MOST_BYTES = 1024 * 1024
"""What one call may return: sixteen times the 64 KiB that are read at once. A decompressor that is fed a bomb fails."""

Side = Literal["filter_request", "filter_response"]
BuiltFilters = Sequence[Built[IBodyFilter]]


class _Link:
    """One filter's stream. ``keeps_length``: it promised to give exactly as many bytes as it gets."""

    __slots__ = ("_ahead", "_built", "_stream", "keeps_length")

    def __init__(self, built: Built[IBodyFilter], stream: Any, keeps_length: bool) -> None:
        self._built = built
        self._stream = stream
        self._ahead = 0
        self.keeps_length = keeps_length

    def feed(self, data: bytes) -> bytes | Deny:
        out = self._call("feed", data)
        if self.keeps_length and not isinstance(out, Deny):
            self._ahead += len(out) - len(data)
            if self._ahead > 0:
                raise self._blame("gave more bytes than it got, although it keeps the length")
        return out

    def end(self) -> bytes | Deny:
        out = self._call("end")
        if self.keeps_length and not isinstance(out, Deny) and self._ahead + len(out):
            raise self._blame("gave another number of bytes than it got, although it keeps the length")
        return out

    def _call(self, name: str, *arguments: bytes) -> bytes | Deny:
        try:
            out: Any = getattr(self._stream, name)(*arguments)
            if isinstance(out, list | tuple) and sum(map(len, out)) <= MOST_BYTES:
                out = b"".join(out)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._blame(f"raised {shown(error)} in {name}") from error
        if isinstance(out, list | tuple) or (isinstance(out, bytes) and len(out) > MOST_BYTES):
            raise self._blame(f"returned more than {MOST_BYTES} bytes at once from {name}")
        if isinstance(out, Deny) and (fault := fault_in(out)):
            raise self._blame(f"answered {shown(out)} in {name}: {fault}")
        if isinstance(out, bytes | Deny):
            return out
        raise self._blame(f"answered {shown(out)} in {name}, which is neither bytes, nor a sequence of them, nor Deny")

    def _blame(self, what: str) -> PluginError:
        return PluginError(self._built.plugin, f"body filter {self._built.name!r} {what}")


class FilterChain:
    """The streams that one body passes, in their order. ``keeps_length``: so do all of them."""

    __slots__ = ("_links", "keeps_length")

    def __init__(self, links: Sequence[_Link]) -> None:
        self._links = links
        self.keeps_length = all(link.keeps_length for link in links)

    def feed(self, data: bytes, last: bool = False) -> bytes | Deny:
        """Return what comes out behind the last filter; ``last``: nothing follows ``data``, which may be empty.

        Raises: PluginError. Nothing may be fed after that, or after Deny.
        """
        for link in self._links:
            out = link.feed(data) if data else data
            if isinstance(out, Deny):
                return out
            end = link.end() if last else b""
            if isinstance(end, Deny):
                return end
            data = out + end if end else out
        return data


def chain_of(filters: BuiltFilters, side: Side, *heads: Any) -> FilterChain | Deny | None:
    """Let each filter look at a message's head. ``None``: none of them wants to see the body.

    Raises: PluginError.
    """
    links: list[_Link] = []
    for built in filters:
        try:
            stream: Any = getattr(built.object, side)(*heads)
            if stream is None:
                continue
            if isinstance(stream, Deny) and not fault_in(stream):
                return stream
            sound = callable(stream.feed) and callable(stream.end) and isinstance(stream.keeps_length, bool)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"body filter {built.name!r} raised {shown(error)} in {side}, or answered no IBodyStream"
            raise PluginError(built.plugin, what) from error
        if not sound:
            what = f"body filter {built.name!r} answered {shown(stream)} in {side}, which is no IBodyStream"
            raise PluginError(built.plugin, what)
        links.append(_Link(built, stream, stream.keeps_length))
    return FilterChain(links) if links else None
