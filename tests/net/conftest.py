"""Transports of each kind, and streams over TCP."""

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from twisted_lb.net.stream import Stream

if TYPE_CHECKING:
    from tests.conftest import Loop
from tests.net.kinds import Kind, Memory, Notes, Streams, TcpStreams, TwistedTcp


@pytest.fixture(params=[Streams, TcpStreams, TwistedTcp, Memory])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each kind of transport."""
    one: Kind = request.param()
    yield one
    one.close()


@pytest.fixture(params=[Streams, TcpStreams, Memory])
def ours(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each kind but Twisted's."""
    one: Kind = request.param()
    yield one
    one.close()


@pytest.fixture
def tcp(loop: "Loop") -> Iterator[Callable[..., tuple[Stream, socket.socket]]]:
    """Make a stream over TCP, paused as it comes, and the plain socket at its other end."""
    made: list[socket.socket] = []

    def make(protocol: Notes, half_close: bool = True) -> tuple[Stream, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far = listener.accept()[0]
        near.setblocking(False)
        made.extend((near, far))
        stream = Stream(loop.poller, near)
        stream.attach(protocol, half_close)
        stream.accepted()
        protocol.makeConnection(stream)
        return stream, far

    yield make
    for sock in made:
        sock.close()
