"""Sessions whose client came through an endpoint and may have to wait; the rest is in ``tests/sessions``."""

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.http_sessions.conftest import HttpWorld, world
from tests.sessions.conftest import DESTINATION, ROOM_BYTES, SOURCE, Memory
from twisted_lb.endings import Stage
from twisted_lb.endpoint_session import (
    EndpointHttpSession,
    EndpointSession,
    EndpointTcpSession,
    endpoint_session_class,
)
from twisted_lb.facts import Facts

__all__ = ["world"]


@pytest.mark.parametrize(("http", "expected"), [(None, EndpointTcpSession), (object(), EndpointHttpSession)])
def test_the_mode_decides_on_the_kind_of_session(http: Any, expected: type[EndpointSession]) -> None:
    frontend: Any = SimpleNamespace(http=http)
    assert endpoint_session_class(frontend) is expected


@pytest.fixture
def waiting(world: HttpWorld) -> tuple[HttpWorld, EndpointHttpSession, Memory]:
    """A session for which there is no room yet, and its client."""
    frontend = world.frontend(world.backend(world.upstream()))
    facts = Facts(SOURCE, DESTINATION, "web", "*:80")
    session = EndpointHttpSession(world.process, frontend, world.limits, facts, lambda session: None)
    peer = Memory(world)
    _, peer.far = world.network.connect(peer, session, ROOM_BYTES)
    world.turn()
    return world, session, peer


def test_it_waits_without_reading_and_is_not_counted(waiting: tuple[HttpWorld, EndpointHttpSession, Memory]) -> None:
    world, session, peer = waiting
    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert session.stage is Stage.ACCEPT
    assert session.bytes_in == 0
    assert not world.process.sessions
    session.start()
    world.turn()
    assert session.stage > Stage.ACCEPT
    assert [limit.count for limit in world.limits] == [1, 1, 1]


@pytest.mark.parametrize("how", ["ends", "is lost"])
def test_who_leaves_while_it_waits_has_no_record(
    waiting: tuple[HttpWorld, EndpointHttpSession, Memory], how: str
) -> None:
    world, session, _ = waiting
    if how == "ends":
        session.readConnectionLost()
    else:
        session.connectionLost(Failure(ConnectionLost()))
    world.turn()
    assert session.client is None
    assert world.records == []


def test_it_learns_who_is_at_the_other_end_of_a_unix_socket(world: HttpWorld) -> None:
    frontend = world.frontend(world.backend(world.upstream()))
    facts = Facts(SOURCE, DESTINATION, "web", "unix:/run/x")
    session = EndpointHttpSession(world.process, frontend, world.limits, facts, lambda session: None)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        transport = SimpleNamespace(
            getHandle=lambda: ours, getHost=lambda: UNIXAddress("/run/x"), pauseProducing=lambda: None
        )
        session.makeConnection(transport)
    assert facts.credentials is not None
    assert facts.credentials.uid == os.getuid()
