"""HTTP mode's timers: who has let others wait for too long, in which stage."""

from math import inf

from twisted_lb.endings import Cause, Stage
from twisted_lb.http_bodies import HttpBodies
from twisted_lb.stages.lingering import undelivered

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _BODY, _RESPONSE, _RELAY = Stage.VALIDATION, Stage.BODY, Stage.RESPONSE, Stage.RELAY


class HttpTimers(HttpBodies):
    """A session of a frontend in HTTP mode, as far as its deadlines pass."""

    __slots__ = ()

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        self._due = inf
        if self._deadline > now:
            if self._deadline < inf:
                self._due = self._deadline
                self.process.wheel.arm(self, self._deadline - now, now)
            return
        stage = self.stage
        if self._leaving is not None:
            delay_s = self._leaving.again_in(now)
            if delay_s is None:
                self._drop_client()
            else:
                self._arm(delay_s)
        elif stage is _RESPONSE or stage is _RELAY:
            self._look(now)
        elif stage is Stage.TARPIT and self.exchange is not None:
            self._end(Cause.PROXY, self._sentence.reason, verdict=self._sentence)
        elif stage is _BODY:
            self._deadline = inf
            self._await_body(now)
        elif stage is _VALIDATION:
            if self._blocked_since:
                self._look_at_reader(now)
            elif not (self._begun or self.requests) and self.process.stopping:
                self._end(Cause.KILLED, "the process stops")
            elif self._begun or not self.requests:
                self._end(Cause.CLIENT_TIMEOUT, "no whole request within timeouts.http_request")
            else:
                self._close_client()
        else:
            super().timer_due(now)

    def _look(self, now: float) -> None:
        """Whether the side of the exchange whose turn it is has been idle for too long.

        A client that takes nothing is timed by that alone, as it is us who do not read the server then. Else it is up
        to the client while its request is not whole and the server takes it, and up to the server otherwise.
        Source: HAProxy, sc_strm.h, and ``timeout server`` in configuration.txt.
        """
        exchange = self.exchange
        assert exchange is not None
        if self._shaped is not None:
            self._shaped.excuse(now)
        client_s, server_s = self.frontend.timers.client, self.backend.timers.server
        since = max(exchange.last_server, exchange.last_client)
        if self._blocked_since:
            since, timeout_s, cause = self._took_until(now), client_s, Cause.CLIENT_TIMEOUT
        elif exchange.request_done or exchange.full:
            since, timeout_s, cause = max(since, exchange.took_until(now)), server_s, Cause.SERVER_TIMEOUT
        else:
            timeout_s, cause = client_s, Cause.CLIENT_TIMEOUT
        if timeout_s is not None and since + timeout_s <= now:
            self._end(cause, "idle for too long")
            return
        # Whose turn it is can change at any moment, without anybody arming anything.
        self._arm(self._shortest_s)
        if timeout_s is not None:
            self._arm_sooner(since + timeout_s - now)
        self._fast_enough(exchange, now)

    def _look_at_reader(self, now: float) -> None:
        """Whether a client between two requests still takes what it was answered before."""
        client_s = self.frontend.timers.client
        if client_s is None:
            return
        waits_s = self._took_until(now) + client_s - now
        if waits_s > 0:
            self._arm(waits_s)
        else:
            self._drop_client(reset=True)

    def _took_until(self, now: float) -> float:
        """When the client last took something of what waits for it; looked at now and then, so rather late."""
        left = undelivered(self.client)
        if left < self._blocked_left:
            self._blocked_left, self._blocked_since = left, now
        return self._blocked_since
