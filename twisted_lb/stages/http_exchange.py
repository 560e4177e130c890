"""One request and its response, message by message: heads that are parsed and put together anew, bodies that stream.

Stage: response and relay, in HTTP mode.
In: a request's head, a connection to a server, and bytes from both sides as they come.
Out: the owner's ``response_begun``, and then ``exchange_done`` or one of the failures, once.
Never: sends a byte of a head that broke a rule, or reads on while the other side does not take what was read.
Source: RFC 9112, sections 6, 7 and 9; RFC 9110, sections 9.2.2, 10.1.1 and 15.2.
"""

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.stages.exchange_owner import ExchangeOwner, Moment
from twisted_lb.stages.request_side import RequestSide, joined
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1 import (
    LAST_CHUNK,
    ChunkedBody,
    Forwarder,
    Framing,
    Http1Error,
    Http1Settings,
    RequestHead,
    ResponseHead,
    downstream_framing,
    encode_chunk,
    parse_response,
)

# Looking a member up on its Enum is a call of a Python function on 3.11.
_NONE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.UNTIL_CLOSE

MOST_INTERIM = 16
"""So many 1xx responses a server may send before the response itself."""


class Exchange(RequestSide):
    """One request and its response.

    ``last_server``: when the server last sent something. ``spoilt``: it said more than its response. ``reused``: its
    connection has carried other requests before. ``replayed``: the request was sent once already, over such a
    connection, which turned out to be closed.
    """

    __slots__ = (
        "_body_out",
        "_interim",
        "_left_out",
        "_rest",
        "_settings",
        "_write_chunks",
        "bytes_out",
        "client_keeps",
        "forwarder",
        "framing",
        "last_server",
        "replayed",
        "response_done",
        "reused",
        "spoilt",
    )

    def __init__(self, owner: ExchangeOwner, request: RequestHead, moment: Moment) -> None:
        self.owner = owner
        self.request = request
        self.connection = None
        self.response = None
        self.response_done = self.spoilt = self.client_keeps = self.full = self.reused = self.replayed = False
        self.bytes_in = request.length
        self.bytes_out = 0
        self.last_client = self.last_server = moment.now
        self.framing = _NONE
        self._moment = moment
        self._rest = b""
        self._took_at = 0.0
        self._interim = self._unsent = 0
        self._body_in = None
        self._left_in = 0
        framing = request.framing
        if framing is _NONE:
            self.request_done = True
        elif framing is _LENGTH:
            self._left_in = request.content_length
            self.request_done = not self._left_in
        else:
            self._body_in = ChunkedBody()
            self.request_done = False

    # The request

    def start(
        self, connection: ServerConnection, forwarder: Forwarder, settings: Http1Settings, head: bytes | None = None
    ) -> None:
        """Send the request's head; the body follows through ``request_data``. ``head``: another one than usual."""
        connection.used += 1
        self.take_up(connection, forwarder, settings, self._moment.now)
        connection.transport.write(forwarder.request_upstream(self.request) if head is None else head)

    def take_up(
        self, connection: ServerConnection, forwarder: Forwarder, settings: Http1Settings, asked_at: float
    ) -> None:
        """Wait for the response to a request whose head was sent at ``asked_at``, the clock's seconds."""
        self.connection = connection
        self.forwarder = forwarder
        self._settings = settings
        self.last_server = asked_at
        connection.asker = self
        self.reused = connection.used > 1

    # The response

    def response_data(self, data: bytes) -> None:
        """See ``Asker``."""
        self.last_server = self._moment.now
        try:
            if self.response is None:
                if self._rest:
                    data = self._rest + data
                    self._rest = b""
                self._read_head(data)
            else:
                self._pass_on(data)
        except Exception:
            self.owner.exchange_crashed()

    def _read_head(self, data: bytes) -> None:
        request, owner = self.request, self.owner
        start = 0
        while True:
            try:
                response = parse_response(data, request, start, self._settings)
            except Http1Error as error:
                owner.response_refused(error, data[start:])
                return
            if response.__class__ is NeedMore:
                self._rest = data[start:]
                return
            assert isinstance(response, ResponseHead)
            if not response.is_interim:
                break
            self._interim += 1
            if self._interim > MOST_INTERIM:
                owner.response_refused(Http1Error("http1-interim", response=True), data[start:])
                return
            start += response.length
            if request.version == b"1.1":
                self._write(self.forwarder.response_downstream(response, request))
        if response.is_tunnel:
            if not self.request_done:
                # What is left of its body would reach the server in the framing that it just gave up.
                owner.response_refused(Http1Error("http1-upgrade", response=True), data[start:])
                return
            self.response = response
            head = self.forwarder.response_downstream(response, request)
            owner.tunnel_begun(head, data[start + response.length :])
            return
        self._begin(response, data, start + response.length)

    def _begin(self, response: ResponseHead, data: bytes, start: int) -> None:
        """Send the response's head to the client, with what of the body came along."""
        self.response = response
        owner, request = self.owner, self.request
        framing = self.framing = downstream_framing(response, request)
        owner.response_begun()
        client_keeps = self.client_keeps = self.client_keeps and framing is not _UNTIL_CLOSE
        head = self.forwarder.response_downstream(response, request, keep_alive=client_keeps)
        coming = response.framing
        if coming is _LENGTH:
            left = response.content_length
            end = start + left
            size = len(data)
            if size >= end:
                # The usual case: all of it at once.
                self._left_out = 0
                self.spoilt = size > end
                self._write(head + data[start:end] if left else head)
                self._done()
                return
            self._left_out = end - size
            self._body_out = None
            self._write(head + data[start:] if size > start else head)
            return
        if coming is _NONE:
            self.spoilt = len(data) > start
            self._write(head)
            self._done()
            return
        self._left_out = -1
        self._write_chunks = framing is _CHUNKED and coming is not _CHUNKED
        self._body_out = ChunkedBody(decode=framing is not _CHUNKED, response=True) if coming is _CHUNKED else None
        self._write(head)
        if len(data) > start:
            self._pass_on(data[start:])

    def _pass_on(self, data: bytes) -> None:
        """Send the client what of ``data`` belongs to the response's body."""
        if self.response_done:
            self.spoilt = True
            return
        left = self._left_out
        if left >= 0:
            size = len(data)
            if size < left:
                self._left_out = left - size
                self._write(data)
                return
            self.spoilt = size > left
            self._left_out = 0
            self._write(data[:left] if self.spoilt else data)
            self._done()
            return
        body = self._body_out
        if body is None:
            self._write(joined(encode_chunk(data)) if self._write_chunks else data)
            return
        try:
            pieces, used = body.feed(data)
        except Http1Error as error:
            self.owner.response_refused(error, data, body.taken)
            return
        if pieces:
            self._write(joined(pieces))
        if body.done:
            self.spoilt = used < len(data)
            self._done()

    def _write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.owner.client.write(data)

    def _done(self) -> None:
        self.response_done = True
        self.owner.exchange_done()

    def server_ended(self, reason: str, clean: bool) -> None:
        """See ``Asker``."""
        self.connection = None
        response = self.response
        if clean and response is not None and response.framing is _UNTIL_CLOSE:
            if self._write_chunks:
                self._write(LAST_CHUNK)
            self._done()
        else:
            self.owner.server_gone(reason)

    @property
    def reusable(self) -> bool:
        """Whether the server's connection can carry another request."""
        response = self.response
        if response is None or not response.keep_alive or self.spoilt:
            return False
        return self.request_done and not self.full  # what the server has not taken yet, it may never take

    @property
    def replayable(self) -> bool:
        """Whether the request may be sent once more, on another connection: it changes nothing, and it has no body."""
        request = self.request
        if request.method not in _SAFE or request.framing is not _NONE:
            return False
        return self.response is None and not self._rest and not self._interim

    def close(self) -> None:
        """Both are done with, or given up."""

    def drop_server(self) -> None:
        """Close the server's connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.asker = None
            connection.close()


_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
