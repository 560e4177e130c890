"""However the bytes of a connection are cut, the exchanges are the same."""

import contextlib
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.http_sessions.conftest import GET, OK, HttpWorld, post

REQUESTS = [
    GET,
    post(b"body"),
    post(b""),
    b"\r\nGET /behind-an-empty-line HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"\x16\x03\x01nonsense\r\n\r\n",
]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


def played(kind: str, parts: Sequence[bytes]) -> tuple[list[bytes], bytes, bool, list[tuple[str, int, str]]]:
    """What servers were asked, what the client was answered, whether it was closed, and the records."""
    world = HttpWorld(kind)
    try:
        upstream, client = world.site()
        answered: set[int] = set()

        def answer() -> None:
            for number, server in enumerate(upstream.peers):
                said = server.read()
                head, end, body = said.partition(b"\r\n\r\n")
                whole = end and len(body) >= 4 * head.count(b"Content-Length: 4")
                if b"chunked" in head:
                    whole = body.endswith(b"X-Sum: 1\r\n\r\n")
                if whole and number not in answered:
                    answered.add(number)
                    server.send(OK[:-2] if head.startswith(b"HEAD") else OK)

        for part in parts:
            with contextlib.suppress(OSError):
                client.send(part)
            answer()
        for _ in range(len(REQUESTS)):
            answer()
        asked = [server.read() for server in upstream.peers]
        outcome = [(record.method, record.status, record.ending) for record in world.records]
        return asked, client.read(), client.ended(), outcome
    finally:
        for session in list(world.process.sessions):
            session.kill("the test is over")
        world.turn()
        world.assert_empty()
        world.close()


@pytest.mark.parametrize("kind", ["streams", "transports"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_a_stream_of_requests_cut_anywhere_is_the_same(kind: str, requests: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(requests)
    assert played(kind, pieces(stream, cuts)) == played(kind, [stream])


@pytest.mark.parametrize("kind", ["streams", "transports"])
@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_whatever_comes_is_answered_or_waited_for(kind: str, noise: bytes, cuts: list[int]) -> None:
    assume(b" HTTP/1." not in noise)  # else it may be a request after all
    asked, answer, ended, _ = played(kind, pieces(noise, cuts))
    assert asked == []
    assert answer == b"" or ((ended and answer.startswith(b"HTTP/1.1 4")) or answer.startswith(b"HTTP/1.1 5"))
