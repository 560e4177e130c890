"""The copy loops: bytes in both directions until both sides have said all, or one of them fails.

Stage: relay.
In: a client's and a server's connection, and the client's bytes that earlier stages looked at.
Out: ``relay_ended(cause, reason)`` once, with both connections closed.
Never: reads from one side while the other has not taken what was read before. Never turns a reset into a clean end.
Source: docs/explanation/performance.md for the techniques.

``StreamRelay`` moves bytes from socket to socket between two streams of ours. ``relay_transports.TransportRelay`` does
the same between any two Twisted transports. One contract suite runs on both; ``relay_timers`` has their timers.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from socket import AF_UNIX, SHUT_WR, SO_ERROR, SO_LINGER, SOL_SOCKET

from twisted_lb.endings import Cause
from twisted_lb.net.poll import ASIDE_BUDGET, EPOLLERR, EPOLLOUT, EPOLLRDHUP, LOOK, READ_ON, READING_AND_WRITING, UNSURE
from twisted_lb.net.stream import Stream
from twisted_lb.net.stream_socket import RESET_ON_CLOSE
from twisted_lb.stages.relay_timers import RefusedError, Relay, RelayOwner

# Looking a member up on its Enum is a call of a Python function on 3.11.
_CLIENT, _SERVER, _NORMAL = Cause.CLIENT, Cause.SERVER, Cause.NORMAL
MSG_MORE = getattr(socket, "MSG_MORE", 0)


class StreamSide:
    """One side of a ``StreamRelay``: a watcher on its socket.

    ``pending``: bytes of the other side that this one has not taken; while there are any the other is not read.
    """

    __slots__ = (
        "blocked_since",
        "bytes_in",
        "cause",
        "eof",
        "fd",
        "other",
        "pending",
        "poller",
        "reads_on",
        "recv_into",
        "relay",
        "send",
        "sock",
        "window",
        "writable_watched",
    )
    other: "StreamSide"
    send: Callable[..., int]
    """As ``socket.send``: the bytes, and flags."""

    def __init__(self, relay: "StreamRelay", stream: Stream, cause: Cause) -> None:
        sock = stream.detach()
        self.relay = relay
        self.poller = stream.poller
        self.cause = cause
        self.sock = sock
        self.fd = stream.fd
        self.writable_watched = stream.writable_watched
        self.recv_into = sock.recv_into
        self.send = sock.send
        # A Unix socket's read also stops behind bytes that came with descriptors, of which no event tells.
        self.reads_on = sock.family == AF_UNIX
        self.window = 0
        self.pending: memoryview | None = None
        self.eof = False
        self.bytes_in = 0
        self.blocked_since = 0.0
        self.poller.watchers[self.fd] = self

    def on_events(self, events: int) -> None:
        """See ``Watcher``. Long, as each call of a smaller function would cost what a system call costs."""
        relay = self.relay
        if relay.owner is None:
            return
        if events & EPOLLOUT and self.pending is not None and (not self.flush() or events == EPOLLOUT):
            return
        other = self.other
        if self.eof or other.pending is not None:
            if events & EPOLLERR:
                self.check_error()
            return
        poller = self.poller
        read_on = False
        while True:
            window = self.window
            if window and poller.aside > ASIDE_BUDGET:
                window = self.window = 0
            view = poller.windows[window]
            try:
                count = self.recv_into(view)
            except BlockingIOError:
                return
            except OSError as error:
                relay.end(self.cause, error.strerror or "")
                return
            if not count:
                self.end_of_stream()
                return
            self.bytes_in += count
            relay.last = poller.now
            full = count == len(view)
            ends = False
            if not full:
                view = view[:count]
                if events & EPOLLRDHUP and not events & UNSURE and not self.reads_on:
                    ends = True  # all that came before the end was there when that was reported, and has been read now
            try:
                # The last bytes and the FIN, which follows at once, share a packet.
                sent = other.send(view, MSG_MORE) if ends and not other.eof else other.send(view)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                other.broken(error)
                return
            if sent < count:
                other.set_aside(view[sent:])
                self.window = 0
                return
            if full:
                # The rest gets its turn when the others have had theirs.
                if window < len(poller.windows) - 1:
                    self.window = window + 1
                poller.again(self)
                return
            if ends:
                self.end_of_stream()
                return
            if events and not events & READ_ON and not self.reads_on:
                return
            # What is behind will not be reported: read on to it. Or this is the turn of what was cut short (no events),
            # and what was reported before that is not known here.
            if read_on:
                # Whoever sends as fast as we read would keep this loop busy for ever: the rest at the next turn.
                poller.again(self)
                return
            read_on = True

    def on_crash(self) -> None:
        """See ``Watcher``."""
        self.relay.end(Cause.INTERNAL, "a defect in the relay")

    def set_aside(self, rest: memoryview | bytes) -> None:
        """Keep what the kernel did not take; this is all that is ever kept, one window at most."""
        self.pending = memoryview(bytes(rest))
        self.poller.aside += len(rest)
        self.blocked_since = self.poller.now
        if not self.writable_watched:
            self.writable_watched = True
            self.poller.modify(self.fd, READING_AND_WRITING)

    def let_go(self) -> None:
        """Drop what is pending: nobody will take it any more."""
        if self.pending is not None:
            self.poller.aside -= len(self.pending.obj)  # type: ignore[arg-type]  # the bytes of ``set_aside``
            self.pending = None
        self.blocked_since = 0.0

    def flush(self) -> bool:
        """Send what is pending. Returns whether the relay goes on with this event."""
        pending = self.pending
        assert pending is not None
        try:
            sent = self.send(pending)
        except BlockingIOError:
            return True
        except OSError as error:
            self.broken(error)
            return False
        relay = self.relay
        relay.last = self.poller.now
        if sent < len(pending):
            self.pending = pending[sent:]
            self.blocked_since = self.poller.now
            return True
        # All at once: until the last of them is taken, the memory of all is held.
        self.poller.aside -= len(pending.obj)  # type: ignore[arg-type]  # the bytes of ``set_aside``
        self.pending = None
        self.blocked_since = 0.0
        other = self.other
        if not other.eof:
            # What came meanwhile was reported once already, and will not be again.
            other.on_events(LOOK)
        elif self.eof and other.pending is None:
            relay.finish()
        else:
            self.shut_write()
        return relay.owner is not None

    def end_of_stream(self) -> None:
        """This side has sent all: the other is told, once it has taken everything."""
        relay, other = self.relay, self.other
        if relay.reset:
            return
        self.eof = True
        relay.half_close()
        if other.pending is None:
            if not other.eof:
                other.shut_write()
            elif self.pending is None:
                relay.finish()

    def shut_write(self) -> None:
        """Send this side a FIN."""
        try:
            self.sock.shutdown(SHUT_WR)
        except OSError as error:
            self.broken(error)

    def check_error(self) -> None:
        """An error while nothing is read from this side: a reset ends the relay here and now."""
        code = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self.relay.end(self.cause, os.strerror(code))

    def broken(self, error: OSError) -> None:
        """This side takes no more. What it said before still counts: it is passed on, up to the reset."""
        relay = self.relay
        if isinstance(error, RefusedError):
            relay.refuse(error)
            return
        had_ended = self.eof
        # Told to a send, the reset is not told again: behind the last bytes reading then finds an end like any other.
        # ECONNRESET says that there is none: after a FIN it would be EPIPE.
        relay.reset = error.errno == errno.ECONNRESET
        self.let_go()
        while not self.eof and not relay.draining and self.other.pending is None:
            before = self.bytes_in
            relay.draining = True
            self.on_events(LOOK)
            if relay.owner is None:
                return
            relay.draining = False
            if self.bytes_in == before:
                break
        relay.end(self.cause, error.strerror or "", reset=had_ended or not self.eof)


class StreamRelay(Relay):
    """A relay between two streams of ours, socket to socket.

    ``draining``: one side is broken, and its last words are being read. ``reset``: no end of stream is behind them.
    """

    __slots__ = ("client", "draining", "reset", "server")
    client: StreamSide
    server: StreamSide

    def __init__(self, owner: RelayOwner, client: Stream, server: Stream) -> None:
        # All of it, also what the class above declares: its own ``__init__`` would be felt per connection.
        self.owner = owner
        self.last = client.poller.now
        self.half_closed = self.draining = self.reset = False
        self.throttles = ()
        self.client = StreamSide(self, client, _CLIENT)
        self.server = StreamSide(self, server, _SERVER)
        self.client.other = self.server
        self.server.other = self.client

    def start(self, preface: bytes, peeked: bytes, client_events: int, server_events: int) -> None:
        """Send the server ``preface``, which is ours, and ``peeked``, which is the client's, and go on.

        ``client_events``, ``server_events``: what was reported of each while nobody read; it is not reported again. A
        client of whom nothing was reported has been read to the end of what has come.
        """
        client, server = self.client, self.server
        client.bytes_in = len(peeked)
        first = preface + peeked
        if first and not self._send_first(first):
            return
        if client_events and server.pending is None:
            client.on_events(client_events)
        if server_events & ~EPOLLOUT:
            server.on_events(server_events)

    def _send_first(self, first: bytes) -> bool:
        """Send the server its first bytes. Returns whether the relay goes on."""
        server = self.server
        try:
            sent = server.send(first)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            server.broken(error)
            return False
        if sent < len(first):
            server.set_aside(first[sent:])
        return True

    def finish(self) -> None:
        """Both sides have sent all, and each has taken all."""
        self.end(_NORMAL, reset=False)

    def _give_back_client(self) -> bool:
        client, server = self.client, self.server
        whole = client.pending is None
        client.let_go()
        with contextlib.suppress(OSError):
            server.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        server.poller.close(server.fd, server.sock)
        server.let_go()
        del client.other, server.other, client.send, server.send
        return whole

    def _close(self, reset: bool) -> None:
        client, server = self.client, self.server
        for side in (client, server):
            if reset:
                with contextlib.suppress(OSError):
                    side.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
            side.poller.close(side.fd, side.sock)
            if side.pending is not None:
                side.let_go()
        # The two refer to each other, and whatever stands before a socket's ``send`` to its side: without this they
        # would live until the garbage collector comes by.
        del client.other, server.other, client.send, server.send
