"""HTTP mode's records: what is told of each request, and in the end of its connection, once they are over."""

from typing import Any

from twisted_lb.backends.idle import Own
from twisted_lb.endings import NORMAL, Ending, Stage
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.frontend import Frontend
from twisted_lb.process import Process
from twisted_lb.session import Session
from twisted_lb.stages.access_log import http_record_of, record_of
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.lingering import Lingering
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.stages.remainder import Remainder
from twisted_lb.stages.throttle_exchange import ShapedExchange
from twisted_lb.wire.http1 import BLANK

# Looking a member up on its Enum is a call of a Python function on 3.11.
_ACCESS_LOG = Stage.ACCESS_LOG


class HttpRecords(Session):
    """A session of a frontend in HTTP mode, as far as its requests are counted and recorded.

    The times and counts of ``Session`` are those of the current request.
    ``exchange``: the current request with its response; ``None`` between two. ``status``: what was answered last.
    ``requests``: how many there were.
    """

    __slots__ = (
        "_begun",
        "_last_ending",
        "_leaving",
        "_opened",
        "_own",
        "_shaped",
        "_total_in",
        "_total_out",
        "_unread_out",
        "exchange",
        "request_ms",
        "requests",
        "response_ms",
        "status",
    )

    def __init__(
        self,
        process: Process,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        client: Any,
        facts: Facts,
        reception: Reception | None = None,
    ) -> None:
        super().__init__(process, frontend, limits, client, facts, reception)
        self.exchange: Exchange | None = None
        self.requests = 0
        self.status = 0
        self.request_ms = self.response_ms = -1
        self._begun = False
        self._last_ending = NORMAL
        self._leaving: Lingering | Remainder | None = None
        self._own: Own | None = None
        self._shaped: ShapedExchange | None = None
        self._opened = self._started
        self._total_in = self._total_out = self._unread_out = 0

    def _exchange_over(self, ending: Ending) -> None:
        """Write the record, and give back what was taken of the backend."""
        if self.frontend.recorded:
            try:
                self._record(ending)
            except Exception:
                self._log.failure("a record is lost")
        if self.facts.tracking is not None:
            self.facts.tracking.request_over(ending, self.status, self.bytes_in, self.bytes_out)
        exchange = self.exchange
        if exchange is None:
            self._total_in += len(self._peeked)
            self._total_out += self._unread_out
        else:
            self._total_in += exchange.bytes_in
            self._total_out += exchange.bytes_out
            exchange.close()
        if self._shaped is not None:
            self._shaped.stop()
            self._shaped = None
        self.exchange = self.facts.http = None
        self._last_ending = ending
        self._leave_backend(self.stage)
        self.server = None
        self.backend = self.frontend.backend
        self._begun = bool(self._peeked) and self._peeked not in BLANK
        self._started = self.process.moment.now

    def _record(self, ending: Ending) -> None:
        """Write the record of the current request."""
        frontend, process = self.frontend, self.process
        record = http_record_of(self, ending, process.clock.seconds() - self._started)
        if frontend.access_log is not None:
            try:
                frontend.access_log.write(record)
            except PluginError as error:
                process.blame(error, f"frontend {frontend.name}")
        for observer in frontend.observers:
            self._tell(observer.plugin, observer.object.request_closed, self.facts, record)

    def _finish(self, ending: Ending) -> None:
        """See ``Session``: ended before there could be a request."""
        self._exchange_over(ending)
        self._connection_over()

    def _connection_over(self) -> None:
        """The client's connection is closed; it ended as its last request did."""
        if self.stage is _ACCESS_LOG:
            return
        process, self.stage = self.process, _ACCESS_LOG
        if self.frontend.observers:
            record = record_of(self, self._last_ending, process.clock.seconds() - self._opened)
            for observer in self.frontend.observers:
                self._tell(observer.plugin, observer.object.session_closed, self.facts, record)
        if self.facts.tracking is not None:
            self.facts.tracking.connection_over()
        process.wheel.disarm(self)
        own, self._own = self._own, None
        if own is not None:
            own.close()
        self.client = self._questions = self._leaving = self.facts.http = None
        for limit in self._limits:
            limit.give_back()
        process.session_ended(self)

    @property
    def bytes_in(self) -> int:
        """How many bytes the current request had, as far as they were read; in the end those of all requests."""
        if self.stage is _ACCESS_LOG:
            return self._total_in
        return len(self._peeked) if self.exchange is None else self.exchange.bytes_in

    @property
    def bytes_out(self) -> int:
        """How many bytes the client was sent of the current response; in the end those of all responses."""
        if self.stage is _ACCESS_LOG:
            return self._total_out
        return self._unread_out if self.exchange is None else self.exchange.bytes_out
