"""Requests whose body matters before a server is chosen, or that comes too slowly."""

from collections.abc import Callable
from math import inf

from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.http_endings import HttpEndings
from twisted_lb.stages.body_exchange import BodyExchange
from twisted_lb.stages.exchange_owner import Later
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.verdicts import Deny
from twisted_lb.walk import PASSED, Event

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpBodies(HttpEndings):
    """A session of a frontend in HTTP mode, as far as the bodies of its requests go."""

    __slots__ = ()

    def _enter_body(self) -> Event | None:
        exchange = self.exchange
        if not isinstance(exchange, BodyExchange):
            return PASSED
        try:
            denied = exchange.look_at_request()
        except PluginError as error:
            return self._end_blaming(error)
        if denied is not None:
            self.body_denied(denied)
            return None
        if exchange.request_done or not exchange.held:
            return PASSED
        if exchange.request.expect_continue and not self._peeked:
            exchange.bytes_out += len(CONTINUE)
            self.client.write(CONTINUE)
        exchange.last_client = self.process.moment.now
        self._deadline = inf
        self._send_body(exchange)
        if self.exchange is not exchange:
            return None
        if exchange.request_done:
            return PASSED
        self._await_body(exchange.last_client)
        return None

    def _await_body(self, now: float) -> None:
        """Whether the body of a request that is held comes in time; if so, see when to look again.

        Source: HAProxy, ``timeout http-request`` with ``option http-buffer-request``.
        """
        exchange, bodies, client_s = self.exchange, self._http.bodies, self.frontend.timers.client
        assert isinstance(exchange, BodyExchange)
        assert bodies is not None
        assert bodies.buffering is not None
        if self._shaped is not None:
            self._shaped.excuse(now)
        reason = "no whole request within timeouts.http_request"
        due = exchange.deadline
        if not bodies.buffering.absolute:
            reason = "idle for too long"
            due = inf if client_s is None else exchange.last_client + client_s
        if due <= now:
            self._end(Cause.CLIENT_TIMEOUT, reason)
        elif self._fast_enough(exchange, now):
            self._arm_sooner(due - now)

    def _fast_enough(self, exchange: Exchange, now: float) -> bool:
        """Whether the client sends its body as fast as ``min_rate`` asks; if so, see when to look again."""
        rate = self._rate
        if rate is None or exchange.request_done:
            return True
        left_s = rate.left_s(now, exchange.bytes_in - exchange.request.length)
        if left_s <= 0:
            self._end(Cause.CLIENT_TIMEOUT, "slower than min_rate")
            return False
        self._arm_sooner(left_s)
        return True

    def body_denied(self, deny: Deny) -> None:
        """See ``BodyOwner``."""
        self._end(Cause.PROXY, deny.reason, verdict=deny)

    def body_filter_failed(self, error: PluginError) -> None:
        """See ``BodyOwner``."""
        self._end_blaming(error)

    def buffer_failed(self, error: OSError) -> None:
        """See ``BodyOwner``."""
        what = f"a request's body cannot be held in a temporary file: {error.strerror or error}"
        self.process.complain(f"frontend {self.frontend.name}", what)
        self._end(Cause.RESOURCE, f"temporary file: {error.strerror or error}")

    def later(self, call: Callable[[], None]) -> Later:
        """See ``BodyOwner``."""
        return self.process.clock.callLater(0, call)

    def pause_client(self) -> None:
        """See ``ExchangeOwner``."""
        self.client.pauseProducing()
        if self._rate is not None:
            self._rate.pause(self.process.moment.now)

    def resume_client(self) -> None:
        """See ``ExchangeOwner``."""
        if self._shaped is not None and self._shaped.holds_client():
            return
        self.client.resumeProducing()
        if self._rate is not None:
            self._rate.resume(self.process.moment.now)
        exchange = self.exchange
        if exchange is not None and self._fast_enough(exchange, self.process.moment.now):
            self._arm_sooner(self.frontend.timers.client)

    def _send_body(self, exchange: Exchange) -> None:
        """Send what of the body is here, and have the client's read that brings the rest."""
        if self._peeked:
            data, self._peeked = self._peeked, b""
            self._peeked = exchange.request_data(data)
        if not exchange.request_done and self.exchange is exchange and not exchange.full:
            self.resume_client()
