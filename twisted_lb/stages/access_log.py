"""Exactly one record per connection.

Stage: access log, the last.
In: the record of a connection that has ended.
Out: a line in the frontend's access log.
Never: blames a connection for a log that fails.
Source: HAProxy configuration.txt, section 8.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted_lb.backends.pool import Backend, Server
from twisted_lb.contracts import IAccessLog
from twisted_lb.endings import Ending, Stage
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.logs import LineBuffer
from twisted_lb.plugin_host import Built
from twisted_lb.records import HttpRecord, SessionRecord

_STAGE_NAMES = {stage: stage.name.lower() for stage in Stage}


class AccessLog:
    """A frontend's access log: a format from a plugin, and where its lines go."""

    def __init__(self, log_format: Built[IAccessLog], lines: LineBuffer) -> None:
        self._format = log_format
        self._lines = lines

    def write(self, record: SessionRecord) -> None:
        """Write one line. Raises PluginError if the format fails; the record is lost then."""
        try:
            line = self._format.object.format(record)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                self._format.plugin, f"access log {self._format.name!r} raised {shown(error)} in format"
            ) from error
        if not isinstance(line, bytes):
            raise PluginError(
                self._format.plugin,
                f"access log {self._format.name!r} answered {shown(line)} in format, which is no bytes",
            )
        self._lines.write(line)


class Ended(Protocol):
    """A session that has ended, its counts not yet given back. Times in ms, -1 for a stage that it never reached."""

    backend: Backend
    facts: Facts
    frontend: Any
    process: Any
    server: Server | None
    queue_ms: int
    connect_ms: int
    retries: int
    redispatched: bool
    queued_behind: int

    @property
    def bytes_in(self) -> int:
        """How many bytes the client sent."""

    @property
    def bytes_out(self) -> int:
        """How many bytes the server sent."""


class EndedRequest(Ended, Protocol):
    """A session whose current request has ended."""

    status: int
    request_ms: int
    response_ms: int
    requests: int


def record_of(session: Ended, ending: Ending, total_s: float) -> SessionRecord:
    """Make the record of a session that took ``total_s`` seconds and ends now."""
    record: SessionRecord = _record(SessionRecord, session, ending, total_s)
    return record


def http_record_of(session: EndedRequest, ending: Ending, total_s: float) -> HttpRecord:
    """Make the record of a session's request that took ``total_s`` seconds and ends now."""
    head = session.facts.http
    record: HttpRecord = _record(
        HttpRecord,
        session,
        ending,
        total_s,
        method="<BADREQ>" if head is None else head.method.decode("latin-1"),
        target="" if head is None else head.target.decode("latin-1"),
        version="" if head is None else head.version.decode(),
        host="" if head is None else head.host.decode("latin-1"),
        status=session.status,
        request_ms=session.request_ms,
        response_ms=session.response_ms,
        requests=session.requests,
    )
    return record


def _record(make: Callable[..., Any], session: Ended, ending: Ending, total_s: float, **more: Any) -> Any:
    facts, server = session.facts, session.server
    source, destination = facts.source, facts.destination
    return make(
        time=time.time() - total_s,
        source=source.host,
        source_port=source.port,
        peer=facts.peer.host,
        peer_port=facts.peer.port,
        destination=destination.host,
        destination_port=destination.port,
        frontend=facts.frontend,
        bind=facts.bind,
        backend=session.backend.name,
        server="<NOSRV>" if server is None else server.name,
        queue_ms=session.queue_ms,
        connect_ms=session.connect_ms,
        total_ms=int(total_s * 1000),
        bytes_in=session.bytes_in,
        bytes_out=session.bytes_out,
        ending=ending.code,
        stage=_STAGE_NAMES[ending.stage],
        reason=ending.reason,
        plugin=ending.plugin,
        process_connections=session.process.limit.count,
        frontend_connections=session.frontend.limit.count,
        backend_connections=session.backend.load.connections,
        server_connections=0 if server is None else server.connections,
        retries=session.retries,
        redispatched=session.redispatched,
        server_queue=0,
        backend_queue=session.queued_behind,
        **more,
    )
