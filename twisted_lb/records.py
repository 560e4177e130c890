"""What the access log and observers are told of a connection, or a request, that ended."""

import msgspec


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the access log knows about one connection that ended.

    Times are milliseconds; -1 means that the connection never got there. Counts of connections include this one.
    Source of the fields: HAProxy configuration.txt, section 8.2.2 "TCP log format".
    """

    time: float
    """When it was accepted, in seconds since the epoch."""
    source: str
    source_port: int
    peer: str
    """Who connected to us: the source, or the proxy that sent the PROXY header which names the source."""
    peer_port: int
    destination: str
    destination_port: int
    frontend: str
    bind: str
    backend: str
    server: str
    """The server's name, ``<NOSRV>`` if none was ever chosen."""
    queue_ms: int
    connect_ms: int
    total_ms: int
    bytes_in: int
    """From the client."""
    bytes_out: int
    """To the client."""
    ending: str
    """The two-letter code of the ``Ending``."""
    stage: str
    """The stage in which it ended, in lower case."""
    reason: str
    plugin: str
    process_connections: int
    frontend_connections: int
    backend_connections: int
    server_connections: int
    retries: int
    redispatched: bool
    server_queue: int
    """Connections that were ahead in the server's queue."""
    backend_queue: int
    """Connections that were ahead in the backend's queue."""


class HttpRecord(SessionRecord, frozen=True, kw_only=True):
    """All that the access log knows about one request that ended, or a connection that brought none.

    ``time`` is when its first byte came, or the client connected if none did; ``bytes_in`` and ``bytes_out`` are what
    was read of the request and sent of the response, heads included.
    Source of the fields: HAProxy configuration.txt, section 8.2.3 "HTTP log format".
    """

    method: str
    """``<BADREQ>`` if the request could not be read."""
    target: str
    version: str
    host: str
    status: int
    """What the client was answered; 0 if it was not."""
    request_ms: int
    """Until the whole head was here."""
    response_ms: int
    """From when it was sent to the server until the head of the response was here."""
    requests: int
    """Which request of its connection this is, from 1; 0 if the connection brought none."""
