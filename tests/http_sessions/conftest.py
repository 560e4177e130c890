"""As ``tests/sessions/conftest.py``, in HTTP mode."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sessions.conftest import Peer, Upstream, World, lent
from twisted_lb.api import HttpRecord
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.backends.pool import Backend
from twisted_lb.endpoint_session import EndpointHttpSession
from twisted_lb.frontend import Frontend, HttpFrontend
from twisted_lb.http_express import ExpressSession, may_take_it
from twisted_lb.http_session import HttpSession
from twisted_lb.stages.answers import Answers
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(body: bytes, *more: str) -> bytes:
    """A request with a body of a known length."""
    fields = "".join(f"{one}\r\n" for one in more)
    return f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


class HttpWorld(World):
    """Makes HTTP frontends; ``records``: of all requests that have ended. ``kind`` "express": also streams."""

    endpoint_session = EndpointHttpSession
    records: list[HttpRecord]

    def __init__(self, kind: str) -> None:
        super().__init__("streams" if kind == "express" else kind)
        self._express = kind == "express"

    def stream_session(self, process: Any, frontend: Frontend, *others: Any) -> Any:
        """Make the session of a client over a stream, as a listener would."""
        express = self._express and may_take_it(frontend)
        return (ExpressSession if express else HttpSession)(process, frontend, *others)

    def backend(self, *upstreams: Upstream, http: HttpBackend | None = None, **settings: Any) -> Backend:
        """Make a backend; by default no connection is used for a second request."""
        made = super().backend(*upstreams, **settings)
        made.http = HttpBackend() if http is None else http
        for server in made.servers if http is not None else ():
            server.pool(self.clock, made.http)
        return made

    def frontend(self, backend: Backend, *plugins: Any, http: HttpFrontend | None = None, **settings: Any) -> Frontend:
        """Make a frontend, which does not change what it forwards unless ``http`` says so."""
        plain = HttpFrontend(STRICT, Answers(), {backend.name: ForwardPlan(ForwardSettings())})
        return super().frontend(backend, *plugins, http=http or plain, **settings)

    def site(self, **settings: Any) -> tuple[Upstream, Peer]:
        """One server, and a client that has connected; timeouts of the backend are those of ``backend``."""
        upstream = self.upstream()
        of_backend = {name: settings.pop(name) for name in ("connect", "queue", "server", "tunnel") if name in settings}
        http = settings.pop("reuse", None)
        return upstream, self.client(self.frontend(self.backend(upstream, http=http, **of_backend), **settings))

    def ask(self, client: Peer, upstream: Upstream, request: bytes = GET) -> Peer:
        """Send a request; return the server's end of the newest connection."""
        client.send(request)
        assert upstream.peers, "no connection to the server was made"
        return upstream.peers[-1]

    def statuses(self) -> list[tuple[int, str]]:
        """Status and code of each request that has ended."""
        return [(record.status, record.ending) for record in self.records]

    def assert_empty(self) -> None:
        """Nothing is left of any connection, but for what waits for another request."""
        for backend in self.backends:
            for server in backend.servers:
                if server.idle is not None:
                    server.idle.close()
        super().assert_empty()


class Said:
    """What a peer has read since the last time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._seen = 0

    def __call__(self) -> bytes:
        whole = self._peer.read()
        new, self._seen = whole[self._seen :], len(whole)
        return new


@pytest.fixture(params=["streams", "express", "transports"])
def world(request: pytest.FixtureRequest) -> Iterator[HttpWorld]:
    """A world of each kind."""
    yield from lent(HttpWorld(request.param))
