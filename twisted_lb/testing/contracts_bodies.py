"""The contract suite of body filters."""

from collections.abc import Iterator, Sequence
from typing import Any

from zope.interface.verify import verifyObject

from twisted_lb.api import Deny, IBodyFilter, IBodyStream
from twisted_lb.testing.fakes import make_facts, make_request, make_response


class BodyFilterContract:
    """What every body filter promises: an answer to any head, and a body that does not depend on how it was cut."""

    bodies: Sequence[bytes] = (b"a", b"<html><body>Hello</body></html>\n", bytes(range(256)) * 4)
    """Bodies to filter; add those in which there is something to do."""

    def make_filter(self) -> IBodyFilter:
        """Make the filter under test; each test asks for a new one."""
        raise NotImplementedError

    def heads(self) -> list[tuple[Any, Any]]:
        """Return requests with their responses; add those that the filter looks for."""
        html, chunked = ("Content-Type", "text/html; charset=utf-8"), ("Transfer-Encoding", "chunked")
        get, put = make_request(), make_request("PUT", "/a?b", [("Content-Length", "1024"), html])
        head, post = make_request("HEAD"), make_request("POST", "/", [chunked, ("Content-Encoding", "gzip")])
        old = make_request("POST", "/", [("Content-Length", "5")], "1.0")
        return [
            (get, make_response(200, [("Content-Length", "1024"), html, ("ETag", '"x"')], get)),
            (head, make_response(200, [("Content-Length", "1024"), html], head)),
            (put, make_response(204, (), put)),
            (post, make_response(500, [chunked, ("Content-Encoding", "gzip"), html], post)),
            (old, make_response(206, [html, ("Content-Range", "bytes 0-9/100")], old)),
        ]

    def streams(self, made: IBodyFilter) -> Iterator[Any]:
        """Yield each stream that the heads get."""
        for request, response in self.heads():
            facts = make_facts()
            facts.http = request
            for answer in (made.filter_request(facts), made.filter_response(facts, response)):
                if answer is not None and not isinstance(answer, Deny):
                    yield answer

    def test_it_satisfies_the_interface(self) -> None:
        """``IBodyFilter`` is declared, and its methods take what they will be given."""
        verifyObject(IBodyFilter, self.make_filter())

    def test_it_answers_every_head(self) -> None:
        """``None``, ``Deny`` or a stream; and there is a head that gets a stream."""
        streams = list(self.streams(self.make_filter()))
        assert streams, "no head gets a stream: override heads()"
        for stream in streams:
            verifyObject(IBodyStream, stream)
            assert isinstance(stream.keeps_length, bool), f"keeps_length is {stream.keeps_length!r}"

    def test_cuts_do_not_matter(self) -> None:
        """Whole, byte by byte, and in two pieces, with another body in between."""
        for body in self.bodies:
            cuts = [[body], [body[at : at + 1] for at in range(len(body))]]
            cuts += [[body[:at], body[at:]] for at in range(1, len(body))]
            whole = [_filtered(stream, [body]) for stream in self.streams(self.make_filter())]
            for pieces in cuts:
                made = self.make_filter()
                others = list(self.streams(made))
                for stream, other, expected in zip(self.streams(made), others, whole, strict=True):
                    other.feed(b"x")
                    got = _filtered(stream, pieces)
                    assert got == expected, f"{pieces!r} becomes {got!r}, and in one piece {expected!r}"

    def test_it_keeps_the_length_if_it_says_so(self) -> None:
        """And never gives more than it got so far."""
        for stream in self.streams(self.make_filter()):
            body, got = self.bodies[-1], 0
            for at in range(len(body)):
                out = stream.feed(body[at : at + 1])
                if isinstance(out, Deny):
                    break
                got += len(_joined(out, "feed"))
                assert got <= at + 1 or not stream.keeps_length, f"{got} bytes out of {at + 1}"

    def test_a_body_may_be_empty_or_never_end(self) -> None:
        """The end without a byte, and a byte without an end."""
        made = self.make_filter()
        for stream in self.streams(made):
            assert isinstance(_filtered(stream, []), bytes | Deny)
        for stream in self.streams(made):
            stream.feed(b"x")


def _filtered(stream: Any, pieces: Sequence[bytes]) -> bytes | Deny:
    """Return what a body becomes."""
    made = b""
    for piece in [*filter(None, pieces), None]:
        out = stream.end() if piece is None else stream.feed(piece)
        if isinstance(out, Deny):
            return out
        made += _joined(out, "end" if piece is None else "feed")
    return made


def _joined(out: Any, method: str) -> bytes:
    """Return the bytes that a stream answered."""
    if isinstance(out, bytes):
        return out
    pieces = out if isinstance(out, list | tuple) else [out]
    right = all(isinstance(piece, bytes) for piece in pieces)
    assert right, f"{method}() answered {out!r}, which is neither bytes, nor a list or tuple of them, nor Deny"
    return b"".join(pieces)
