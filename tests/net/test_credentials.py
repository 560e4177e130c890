"""The kernel says who is at the other end of a Unix socket, and nobody else can."""

import os
import socket
import struct
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.turning import Turning, turning
from twisted_lb.facts import Credentials
from twisted_lb.net.credentials import SO_PEERGROUPS, peer_credentials, transport_credentials

__all__ = ["turning"]

pytestmark = pytest.mark.linux


class Asked:
    """A socket whose kernel answers so; ``None``: not at all."""

    def __init__(self, credentials: bytes | None, groups: bytes | None) -> None:
        self.credentials = credentials
        self.groups = groups

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        answer = self.groups if option == SO_PEERGROUPS else self.credentials
        if answer is None or len(answer) > size:
            raise OSError(34, "Numerical result out of range")
        return answer


def test_a_process_is_told_with_its_user_and_its_groups() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        told = peer_credentials(ours)
    assert told is not None
    assert told[:3] == (os.getpid(), os.getuid(), os.getgid())
    assert set(told.groups or ()) == set(os.getgroups())


def test_over_tcp_there_are_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert peer_credentials(client) is None


@pytest.mark.parametrize(
    ("credentials", "groups", "expected"),
    [
        (
            struct.pack("iII", 7, 1000, 100),
            struct.pack("2I", 4, 3000000000),
            Credentials(7, 1000, 100, (4, 3000000000)),
        ),
        (struct.pack("iII", 7, 4294967294, 0), None, Credentials(7, 4294967294, 0, None)),
        (struct.pack("iII", 7, 1000, 100), bytes(4 * 257), Credentials(7, 1000, 100, None)),
        (struct.pack("iII", 0, 0xFFFFFFFF, 0xFFFFFFFF), None, None),
        (b"short", None, None),
        (None, None, None),
    ],
)
def test_what_the_kernel_does_not_say_is_not_known(
    credentials: bytes | None, groups: bytes | None, expected: Credentials | None
) -> None:
    assert peer_credentials(Asked(credentials, groups)) == expected


class Transport:
    """One of Twisted's; ``getHandle`` gives ``handle``."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def getHandle(self) -> Any:
        return self._handle


def test_twisted_s_transports_show_their_sockets_or_it_is_not_known() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket() as of_tcp:
        told = transport_credentials(Transport(ours))
        assert told is not None
        assert told.uid == os.getuid()
        assert transport_credentials(Transport(of_tcp)) is None
        assert transport_credentials(Transport("of another kind")) is None
        assert transport_credentials(object()) is None


class Noting(Protocol):
    """Asks who is at the other end."""

    told: ClassVar[list[Credentials | None]] = []

    def connectionMade(self) -> None:
        self.told.append(transport_credentials(self.transport))


def test_a_connection_over_twisted_s_own_unix_endpoint_has_them(turning: Turning, tmp_path: Path) -> None:
    Noting.told.clear()
    path = str(tmp_path / "x.sock")
    ports: list[Any] = []
    UNIXServerEndpoint(turning.reactor, path).listen(Factory.forProtocol(Noting)).addCallback(ports.append)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        turning.until(lambda: Noting.told, "the connection")
    (told,) = Noting.told
    assert told is not None
    assert (told.pid, told.uid, told.gid) == (os.getpid(), os.getuid(), os.getgid())
    turning.settle()
    ports[0].stopListening()
    turning.settle()
