"""One exchange, as far as its request's body goes: to the server, or to nobody.

Stage: response and relay, in HTTP mode.
In: what the client sends behind the head, and whether the server takes it.
Out: the same, framed anew; ``request_refused``, ``pause_client`` and ``resume_client`` of the owner.
Never: reads on while the server does not take what was read.
Source: RFC 9112, sections 6, 7 and 9.3; RFC 9110, section 10.1.1.
"""

from collections.abc import Sequence

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.stages.exchange_owner import ExchangeOwner, Moment
from twisted_lb.stages.lingering import undelivered
from twisted_lb.stages.remainder import Remainder
from twisted_lb.wire.http1 import Buffer, ChunkedBody, Framing, Http1Error, LengthBody, RequestHead, ResponseHead

# Looking a member up on its Enum is a call of a Python function on 3.11.
_LENGTH = Framing.LENGTH

LITTLE = 64 * 1024
"""So many bytes of a request a client may well send for nothing, if that spares it another connection."""


class RequestSide:
    """The request of an exchange, and what of its body is still to come.

    ``last_client``: when the client last sent something. ``request_done``: the request has been sent whole. ``full``:
    the server takes no more of it for now. ``response``: its head, once it has come. ``Exchange`` sets them all, as a
    second ``__init__`` would be felt at each request.
    """

    __slots__ = (
        "_body_in",
        "_left_in",
        "_moment",
        "_took_at",
        "_unsent",
        "bytes_in",
        "connection",
        "full",
        "last_client",
        "owner",
        "request",
        "request_done",
        "response",
    )

    owner: ExchangeOwner
    request: RequestHead
    connection: ServerConnection | None
    response: ResponseHead | None
    request_done: bool
    full: bool
    bytes_in: int
    last_client: float
    _moment: Moment
    _body_in: ChunkedBody | LengthBody | None
    _left_in: int
    _took_at: float
    _unsent: int

    def request_data(self, data: bytes) -> bytes:
        """Send what of ``data`` belongs to the request's body. Returns: the rest."""
        self.last_client = self._moment.now
        assert self.connection is not None
        body = self._body_in
        if body is None:
            left = self._left_in
            if len(data) < left:
                self._left_in = left - len(data)
                rest = b""
            else:
                data, rest = data[:left], data[left:]
                self._left_in = 0
                self.request_done = True
            self.bytes_in += len(data)
            self.connection.transport.write(data)
            return rest
        try:
            pieces, used = body.feed(data)
        except Http1Error as error:
            self.owner.request_refused(error, data, body.taken)
            return b""
        self.bytes_in += used
        self.request_done = body.done
        if pieces:
            self.connection.transport.write(joined(pieces))
        return data[used:]

    @property
    def worth_ending(self) -> bool:
        """Whether a client that is answered before its request is whole had better send the rest than be closed.

        Not if it waits for a 100: it may leave its body out, and what came next could be either.
        """
        request, response = self.request, self.response
        assert response is not None
        if request.expect_continue and self.bytes_in == request.length:
            return False
        if response.status < 400 and response.keep_alive:
            return True
        body = self._left_of_request()
        return isinstance(body, LengthBody) and body.remaining <= LITTLE

    def remainder(self, patience_s: float | None) -> Remainder:
        """Return what is left of the request, for the owner to take."""
        return Remainder(self._left_of_request(), self._moment.now, patience_s)

    def _left_of_request(self) -> ChunkedBody | LengthBody:
        return LengthBody(self._left_in) if self._body_in is None else self._body_in

    def ends_within(self, data: bytes) -> bool:
        """Whether the rest of the body is in ``data``, or a defect that will be found; before any was passed on."""
        if self.request.framing is _LENGTH:
            return len(data) >= self._left_in
        body = ChunkedBody()
        try:
            body.feed(data)
        except Http1Error:
            return True
        return body.done

    def server_full(self) -> None:
        """See ``Asker``."""
        self.full = True
        self._took_at = self._moment.now
        assert self.connection is not None
        self._unsent = undelivered(self.connection.transport)
        if not self.request_done:
            self.owner.pause_client()

    def server_drained(self) -> None:
        """See ``Asker``."""
        self.full = False
        self.last_client = self._moment.now  # it was us who did not read
        if not self.request_done:
            self.owner.resume_client()

    def took_until(self, now: float) -> float:
        """When the server last took something of what waits for it, if something does; looked at now and then."""
        if not self.full or self.connection is None:
            return 0.0
        left = undelivered(self.connection.transport)
        if left < self._unsent:
            self._unsent, self._took_at = left, now
        return self._took_at


def joined(pieces: Sequence[Buffer]) -> bytes:
    """Return the pieces that a body has given as one; there is at least one."""
    if len(pieces) == 1:
        piece = pieces[0]
        return piece if isinstance(piece, bytes) else bytes(piece)
    return b"".join(pieces)
