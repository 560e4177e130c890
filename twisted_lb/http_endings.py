"""How a request ends in HTTP mode that is not answered by a server: with an answer of ours, or without any."""

import time

from twisted_lb.endings import Cause, Ending, Stage
from twisted_lb.frontend import Refusal
from twisted_lb.http_upstream import HttpUpstream
from twisted_lb.net.silence import silence
from twisted_lb.verdicts import Deny, HttpVerdict
from twisted_lb.walk import AGAIN, Event
from twisted_lb.wire.http1 import Framing, Http1Error
from twisted_lb.wire.http1_refused import RefusedMessage, excerpt

# Looking a member up on its Enum is a call of a Python function on 3.11.
_VALIDATION, _TARPIT, _ACCESS_LOG = Stage.VALIDATION, Stage.TARPIT, Stage.ACCESS_LOG

STATUS: dict[tuple[Stage, Cause], int] = {
    (Stage.VALIDATION, Cause.CLIENT_TIMEOUT): 408,
    (Stage.VALIDATION, Cause.PROXY): 400,
    (Stage.POLICY, Cause.PROXY): 403,
    (Stage.TARPIT, Cause.PROXY): 500,
    (Stage.BODY, Cause.CLIENT_TIMEOUT): 408,
    (Stage.BODY, Cause.RESOURCE): 503,
    (Stage.BALANCE, Cause.SERVER): 503,
    (Stage.QUEUE, Cause.SERVER): 503,
    (Stage.QUEUE, Cause.SERVER_TIMEOUT): 503,
    (Stage.CONNECT, Cause.SERVER): 503,
    (Stage.CONNECT, Cause.SERVER_TIMEOUT): 503,
    (Stage.CONNECT, Cause.RESOURCE): 503,
    (Stage.RESPONSE, Cause.SERVER): 502,
    (Stage.RESPONSE, Cause.PROXY): 502,
    (Stage.RESPONSE, Cause.SERVER_TIMEOUT): 504,
    (Stage.RESPONSE, Cause.CLIENT_TIMEOUT): 408,
    (Stage.RESPONSE, Cause.RESOURCE): 503,
}
"""What a client is answered that gets no server's response. Source: HAProxy, see the table of log codes."""


_UNANSWERED = {Cause.CLIENT, Cause.KILLED}
"""Who is gone, or has to go at once, is not answered."""
_OF_THE_SERVER = {Cause.SERVER, Cause.SERVER_TIMEOUT, Cause.PROXY}
_EVIDENT = {Framing.LENGTH, Framing.CHUNKED}
"""With these a client sees by itself that a body was cut short; else only a RST tells it from a whole one."""


class HttpEndings(HttpUpstream):
    """A session of a frontend in HTTP mode, as far as its requests end early."""

    __slots__ = ()

    def _keep_refused(self, error: Http1Error, data: bytes, at: int = 0, of_server: bool = False) -> None:
        """Keep what of ``data`` broke a rule, log it at level ``debug``, and tell the observers."""
        server = self.server
        name = f"{self.backend.name}/{server.name}" if of_server and server is not None else ""
        source, (kept, kept_at) = str(self.facts.source), excerpt(data, error.offset, at)
        message = RefusedMessage(
            time.time(), self.frontend.name, source, name, error.reason, error.offset, kept, kept_at
        )
        self._http.refused.append(message)
        self._log.debug("{message}", message=message)
        for observer in self.frontend.observers:
            self._tell(observer.plugin, observer.object.message_refused, self.facts, message)

    def _refuse(self, error: Http1Error, data: bytes) -> Event | None:
        """Answer a head that broke a rule; nothing that follows on this connection can be understood."""
        self._keep_refused(error, data)
        what = f"{self.facts.source}: {error.reason} at byte {error.offset}"
        self.process.complain(f"frontend {self.frontend.name}", what)
        return self._end(Cause.PROXY, error.reason, status=error.status)

    def _turn_away(self, refusal: Refusal) -> Event | None:
        return self._end(Cause.PROXY, refusal.reason, status=refusal.status)

    def _end(
        self,
        cause: Cause,
        reason: str,
        plugin: str = "",
        reset: bool = False,
        status: int | None = None,
        verdict: Deny | HttpVerdict | None = None,
    ) -> Event | None:
        """End the current request, with an answer if the client has not got a part of one yet.

        ``verdict``: the policy's that the answer is; else it is the error page of ``status``.
        """
        stage = self.stage
        if stage is _ACCESS_LOG or self._closing:
            return None
        exchange = self.exchange
        if stage < _VALIDATION or (stage is _TARPIT and exchange is None):
            return super()._end(cause, reason, plugin, reset, verdict=verdict)
        if exchange is None and self.requests and not self._begun:
            self._drop_client(reset)  # between two requests
            return None
        self._abandon()
        ending = Ending(cause, stage, reason, plugin)
        if exchange is not None and exchange.response is not None:
            self._exchange_over(ending)
            if cause in _OF_THE_SERVER and exchange.framing in _EVIDENT:
                self._close_client(linger=not exchange.request_done)
            else:
                self._drop_client(reset=True)
        elif isinstance(verdict, Deny) and verdict.how in ("reset", "drop"):
            self._exchange_over(ending)
            if verdict.how == "drop":
                silence(self.client)
            self._drop_client(reset=True)
        elif cause in _UNANSWERED and status is None:
            self._exchange_over(ending)
            self._drop_client(reset)
        else:
            if verdict is not None:
                status = verdict.status
            elif status is None:
                status = 500 if cause is Cause.INTERNAL else STATUS[stage, cause]
            return self._answer(status, ending, reset, verdict)
        return None

    def _answer(
        self, status: int, ending: Ending, closes: bool, verdict: Deny | HttpVerdict | None = None
    ) -> Event | None:
        exchange = self.exchange
        request = None if exchange is None else exchange.request
        keeps = exchange is not None and exchange.request_done and exchange.client_keeps
        keeps = keeps and not (closes or self._last or self.process.stopping)
        if request is not None and request.method == b"CONNECT":
            keeps = False
        self.status = status
        answers = self._http.answers
        said = answers.error(status, request, keeps) if verdict is None else answers.verdict(verdict, request, keeps)
        self.client.write(said)
        if exchange is None:
            self._unread_out = len(said)  # the answer to what could not be read
        else:
            exchange.bytes_out += len(said)
        self._exchange_over(ending)
        if keeps:
            self.advance(AGAIN)
        else:
            self._close_client(linger=True)
        return None

    def _fail(self, cause: Cause, reason: str, status: int) -> None:
        """The exchange cannot go on: answer, or cut the client off who has a part of the response already."""
        self._end(cause, reason, status=status)
