"""An exchange whose bodies are not simply passed through: filters change them, or the request's is held until whole.

Stage: body, response and relay, in HTTP mode with ``body_filters`` or ``buffer_request``.
In: as ``http_exchange``, and before a server is chosen what of the request's body comes already.
Out: as ``http_exchange``; a filter's ``Deny`` or failure, and trouble with the temporary file, go to the owner.
Never: sends a byte that a filter has not returned, or more of a held body than the server takes.
Source: RFC 9112, sections 6 and 7; HAProxy configuration.txt, "option http-buffer-request".
"""

from dataclasses import dataclass

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.stages.body_filter import BuiltFilters, FilterChain, chain_of
from twisted_lb.stages.exchange_owner import BodyOwner, Later, Moment
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.request_buffer import Buffering, RequestBuffer
from twisted_lb.verdicts import Deny
from twisted_lb.wire.http1 import (
    LAST_CHUNK,
    Buffer,
    ChunkedBody,
    Forwarder,
    Framing,
    Http1Error,
    Http1Settings,
    LengthBody,
    RequestHead,
    ResponseHead,
    UntilCloseBody,
    downstream_framing,
    encode_chunk,
)

PIECES_PER_TURN = 4
"""So many pieces of a held body are sent before others have their turn."""
TOO_LONG = Deny("the body is longer than buffer_request.max", 413)
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


@dataclass(frozen=True, slots=True)
class Bodies:
    """What a frontend does with bodies."""

    filters: BuiltFilters = ()
    buffering: Buffering | None = None

    def exchange(self, owner: BodyOwner, request: RequestHead, moment: Moment, facts: Facts) -> Exchange:
        """Make the exchange for a request."""
        if not self.filters and request.framing is Framing.NONE:
            return Exchange(owner, request, moment)
        return BodyExchange(owner, request, moment, facts, self)


class BodyExchange(Exchange):
    """One request and its response. ``request_done``: the request has come whole, although perhaps not been sent yet.

    ``deadline``: when the whole request has to be here, for the owner.
    """

    __slots__ = ("_bodies", "_buffer", "_coming", "_facts", "_filter_in", "_filter_out", "_later", "deadline")
    owner: BodyOwner

    def __init__(self, owner: BodyOwner, request: RequestHead, moment: Moment, facts: Facts, bodies: Bodies) -> None:
        super().__init__(owner, request, moment)
        self.deadline = 0.0
        self._bodies = bodies
        self._facts = facts
        self._buffer: RequestBuffer | None = None
        self._filter_in: FilterChain | None = None
        self._filter_out: FilterChain | None = None
        self._coming: ChunkedBody | LengthBody | UntilCloseBody = UntilCloseBody()
        self._later: Later | None = None

    # The request

    def look_at_request(self) -> Deny | None:
        """Let the filters look at the request, and refuse a body that names a length beyond the bound.

        Raises: PluginError.
        """
        chain = chain_of(self._bodies.filters, "filter_request", self._facts)
        if isinstance(chain, Deny):
            return chain
        if self.request_done:
            return None
        self._filter_in = chain
        buffering = self._bodies.buffering
        if buffering is not None:
            if self.request.content_length > buffering.maximum:
                return TOO_LONG
            self._buffer = RequestBuffer(buffering)
        if chain is not None or buffering is not None:
            self._body_in = LengthBody(self._left_in) if self._body_in is None else ChunkedBody(decode=True)
        return None

    @property
    def held(self) -> bool:
        """Whether the body has to be here before a server is chosen."""
        return self._buffer is not None

    def start(
        self, connection: ServerConnection, forwarder: Forwarder, settings: Http1Settings, head: bytes | None = None
    ) -> None:
        """See ``Exchange``. A body that is here already follows at once, from its first byte."""
        self._put_off_no_more()
        self.full = False
        request, buffer, chain = self.request, self._buffer, self._filter_in
        if buffer is not None:
            buffer.rewind()
            head = forwarder.request_upstream(request, framing=Framing.LENGTH, content_length=buffer.size, expect=False)
        elif chain is not None and not self._keeps_request_length:
            head = forwarder.request_upstream(request, framing=Framing.CHUNKED)
        super().start(connection, forwarder, settings, head)
        self._pump()

    @property
    def _keeps_request_length(self) -> bool:
        chain = self._filter_in
        return chain is not None and chain.keeps_length and self.request.framing is Framing.LENGTH

    def request_data(self, data: bytes) -> bytes:
        """See ``Exchange``; a body that is held may come before there is a connection."""
        body = self._body_in
        if body is None or (self._filter_in is None and self._buffer is None):
            return super().request_data(data)
        self.last_client = self._moment.now
        try:
            pieces, used = body.feed(data)
        except Http1Error as error:
            self.owner.request_refused(error, data, body.taken)
            return b""
        self.bytes_in += used
        return data[used:] if self._take_in(b"".join(pieces), body.done) else b""

    def _take_in(self, piece: bytes, done: bool) -> bool:
        """Filter and send or hold a piece of the request's body; returns whether the exchange goes on."""
        owner, chain, buffer = self.owner, self._filter_in, self._buffer
        try:
            out = piece if chain is None else chain.feed(piece, done)
            if buffer is not None and not isinstance(out, Deny) and not buffer.write(out):
                out = TOO_LONG
        except PluginError as error:
            owner.body_filter_failed(error)
            return False
        except OSError as error:
            owner.buffer_failed(error)
            return False
        if isinstance(out, Deny):
            owner.body_denied(out)
            return False
        self.request_done = done
        if buffer is None:
            assert self.connection is not None
            self.connection.transport.write(out if self._keeps_request_length else _chunk(out, done))
        return True

    def _pump(self) -> None:
        """Send what the server takes of a body that is held."""
        self._later = None
        buffer, connection = self._buffer, self.connection
        if buffer is None or connection is None:
            return
        for _ in range(PIECES_PER_TURN):
            if self.full or buffer.ended:
                return
            try:
                piece = buffer.read()
            except OSError as error:
                self.owner.buffer_failed(error)
                return
            self.last_client = self._moment.now
            connection.transport.write(piece)
        if not self.full and not buffer.ended:
            self._later = self.owner.later(self._pump)

    def server_drained(self) -> None:
        """See ``Asker``."""
        super().server_drained()
        if self._later is None:
            self._pump()

    @property
    def reusable(self) -> bool:
        """See ``Exchange``."""
        buffer = self._buffer
        return super().reusable and (buffer is None or buffer.ended)

    @property
    def replayable(self) -> bool:
        """See ``Exchange``. Who repeats a request that sets or deletes a thing does no more than it did."""
        if self._buffer is None:
            return super().replayable
        if self.request.method not in _IDEMPOTENT:
            return False
        return self.response is None and not self._rest and not self._interim

    # The response

    def _begin(self, response: ResponseHead, data: bytes, start: int) -> None:
        filters = self._bodies.filters
        try:
            chain = chain_of(filters, "filter_response", self._facts, response) if filters else None
        except PluginError as error:
            self.owner.body_filter_failed(error)
            return
        if isinstance(chain, Deny):
            self.owner.body_denied(chain)
            return
        if self._buffer is not None and self._buffer.ended:
            self._buffer.close()
        if chain is None:
            super()._begin(response, data, start)
        elif response.framing is Framing.NONE:
            if not chain.keeps_length:
                response.content_length = -1
                self._send_head(response, Framing.NONE)
                self.spoilt = len(data) > start
                self._done()
            else:
                super()._begin(response, data, start)
        else:
            self._begin_filtered(response, chain, data[start:])

    def _begin_filtered(self, response: ResponseHead, chain: FilterChain, data: bytes) -> None:
        coming, length = response.framing, response.content_length
        if coming is Framing.LENGTH and length <= len(data):
            # It is whole: so is what the filters make of it, and nothing of it has been sent should they fail.
            body = self._filtered(chain, data[:length], True)
            if body is not None:
                self.spoilt = len(data) > length
                self._send_head(response, Framing.LENGTH, body)
                self._done()
            return
        if coming is Framing.LENGTH:
            self._coming = LengthBody(length, response=True)
        else:
            self._coming = ChunkedBody(decode=True, response=True) if coming is Framing.CHUNKED else UntilCloseBody()
        framing = None
        if not chain.keeps_length and coming is not Framing.UNTIL_CLOSE:
            framing = Framing.CHUNKED if self.request.version == b"1.1" else Framing.UNTIL_CLOSE
        self._filter_out = chain
        self._send_head(response, framing)
        if data:
            self._pass_on(data)

    def _send_head(self, response: ResponseHead, framing: Framing | None, body: bytes = b"") -> None:
        """Send the response's head with what of the body is there; ``framing``: as ``response_downstream`` has it."""
        self.response = response
        request = self.request
        self.framing = downstream_framing(response, request) if framing is None else framing
        self.owner.response_begun()
        self.client_keeps = self.client_keeps and self.framing is not Framing.UNTIL_CLOSE
        head = self.forwarder.response_downstream(
            response, request, framing=framing, content_length=len(body), keep_alive=self.client_keeps
        )
        self._write(head + body if body else head)

    def _pass_on(self, data: bytes) -> None:
        chain, body = self._filter_out, self._coming
        if chain is None or self.response_done:
            super()._pass_on(data)
            return
        try:
            pieces, used = body.feed(data)
        except Http1Error as error:
            self.owner.response_refused(error, data, body.taken)
            return
        self.spoilt = used < len(data)
        self._take_out(chain, b"".join(pieces), body.done)

    def _take_out(self, chain: FilterChain, piece: bytes, done: bool) -> None:
        """Filter and send a piece of the response's body."""
        out = self._filtered(chain, piece, done)
        if out is None:
            return
        if self.framing is Framing.CHUNKED:
            out = _chunk(out, done)
        if out:
            self._write(out)
        if done:
            self._done()

    def _filtered(self, chain: FilterChain, piece: bytes, done: bool) -> bytes | None:
        """Return what the filters make of a piece of the response; ``None``: the exchange is over."""
        try:
            out = chain.feed(piece, done)
        except PluginError as error:
            self.owner.body_filter_failed(error)
            return None
        if isinstance(out, Deny):
            self.owner.body_denied(out)
            return None
        return out

    def server_ended(self, reason: str, clean: bool) -> None:
        """See ``Exchange``."""
        self._put_off_no_more()
        chain, response = self._filter_out, self.response
        if chain is None or not clean or response is None or response.framing is not Framing.UNTIL_CLOSE:
            super().server_ended(reason, clean)
            return
        self.connection = None
        self._take_out(chain, b"", True)

    # The end

    def drop_server(self) -> None:
        """See ``Exchange``."""
        self._put_off_no_more()
        super().drop_server()

    def close(self) -> None:
        """Give back what the held body takes."""
        self._put_off_no_more()
        if self._buffer is not None:
            self._buffer.close()

    def _put_off_no_more(self) -> None:
        later, self._later = self._later, None
        if later is not None:
            later.cancel()


def _chunk(data: Buffer, last: bool) -> bytes:
    pieces = encode_chunk(data)
    return b"".join((*pieces, LAST_CHUNK) if last else pieces)
