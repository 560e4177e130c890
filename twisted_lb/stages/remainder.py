"""What is left of a request that was answered before it was whole: it is taken and thrown away.

Stage: behind an exchange, in HTTP mode, before the client's next request.
In: what the client goes on to send.
Out: what follows the request, once that is whole.
Never: takes for the end of a request what need not be it, or waits for that for longer than ``MOST_S``.
Source: RFC 9112, sections 9.3 and 9.6; HAProxy, which keeps such a connection too.
"""

from twisted_lb.stages.lingering import MOST_S
from twisted_lb.wire.http1 import ChunkedBody, LengthBody


class Remainder:
    """The rest of one request.

    ``body``: what is left of its body. ``patience_s``: how long the client may take at most; ``None``: ``MOST_S``.
    """

    __slots__ = ("_body", "_until")

    def __init__(self, body: ChunkedBody | LengthBody, now: float, patience_s: float | None) -> None:
        self._body = body
        self._until = now + (MOST_S if patience_s is None else min(patience_s, MOST_S))

    @property
    def taken(self) -> int:
        """How many bytes there were of the body, as far as it knows."""
        return self._body.taken

    def take(self, data: bytes) -> bytes | None:
        """Return what follows the request; ``None`` while it is not whole. Raises: Http1Error."""
        _, used = self._body.feed(data)
        return data[used:] if self._body.done else None

    def again_in(self, now: float) -> float | None:
        """See ``Lingering``."""
        left_s = self._until - now
        return left_s if left_s > 0.001 else None
