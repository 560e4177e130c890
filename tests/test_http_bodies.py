"""Bodies that are held or watched; more in ``http_sessions/test_bodies.py``."""

import pytest

from tests.http_sessions.conftest import OK, HttpWorld, post, world
from twisted_lb.frontend import HttpFrontend
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.request_buffer import Buffering
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings

__all__ = ["world"]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("held", [True, False])
def test_who_asks_whether_to_go_on_is_told_by_whoever_wants_the_body(world: HttpWorld, held: bool) -> None:
    upstream = world.upstream()
    backend = world.backend(upstream)
    bodies = Bodies(buffering=Buffering(memory=1000, maximum=1000)) if held else None
    plans = {backend.name: ForwardPlan(ForwardSettings())}
    client = world.client(world.frontend(backend, http=HttpFrontend(STRICT, Answers(), plans, bodies=bodies)))
    whole = post(b"body", "Expect: 100-continue")
    client.send(whole[:-4])
    if held:
        assert client.read() == CONTINUE
        assert not upstream.peers
    else:
        assert client.read() == b""
        upstream.peers[0].send(CONTINUE)
        assert client.read() == CONTINUE
    client.send(b"body")
    assert (b"Expect" in upstream.peers[0].read()) is not held
    assert upstream.peers[0].read().endswith(b"\r\n\r\nbody")
    upstream.peers[0].send(OK)
    assert client.read() == CONTINUE + OK


def test_a_body_that_nobody_holds_is_no_business_of_the_stage(world: HttpWorld) -> None:
    upstream, client = world.site()
    client.send(post(b"body")[:-4])
    assert upstream.peers[0].read() == post(b"body")[:-4]
    (session,) = world.process.sessions
    assert type(session.exchange).__name__ == "Exchange"  # type: ignore[attr-defined]
