"""A connection ends without a word: nothing comes at the other side, not even a RST."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from twisted_lb.net import silence as module
from twisted_lb.net.silence import silence

RESET = struct.pack("ii", 1, 0)


class Transport:
    """A Twisted transport, as far as it is asked for its socket; TLS has another one below."""

    def __init__(self, handle: Any, below: Any = None) -> None:
        self.handle = handle
        if below is not None:
            self.transport = below

    def getHandle(self) -> Any:
        return self.handle


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the other side's end of a TCP connection."""
    family, host = request.param if hasattr(request, "param") else (socket.AF_INET, "127.0.0.1")
    with socket.socket(family) as listening, socket.socket(family) as theirs:
        listening.bind((host, 0))
        listening.listen()
        theirs.connect(listening.getsockname()[:2])
        ours, _ = listening.accept()
        theirs.settimeout(5)
        with ours:
            yield ours, theirs


def hang_up(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


BOTH = pytest.mark.parametrize(
    "pair", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], indirect=True, ids=["tcp", "tcp6"]
)


@pytest.mark.linux
@pytest.mark.root
@BOTH
def test_the_other_side_hears_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    port = theirs.getsockname()[1]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as wire:
        wire.bind(("lo", 0))
        theirs.send(b"hello")  # unread, which would make any other close a RST
        assert silence(Transport(ours))
        while _next(wire, port) is not None:
            pass
        hang_up(ours)
        assert _next(wire, port) is None
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def _next(wire: socket.socket, port: int) -> bytes | None:
    """Return the next packet to that port that there is already: on this interface sending is receiving."""
    wire.setblocking(False)
    while True:
        try:
            packet = wire.recv(65536)
        except BlockingIOError:
            return None
        tcp = packet[(packet[0] & 15) * 4 :] if packet[0] >> 4 == 4 else packet[40:]
        if int.from_bytes(tcp[2:4]) == port:
            return packet


@pytest.mark.linux
@BOTH
def test_without_the_capability_the_reset_does_not_get_beyond_this_network(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    monkeypatch.setattr(module, "TCP_REPAIR", 0x7FFF)  # what nobody may set
    assert not silence(Transport(ours))
    if ours.family == socket.AF_INET:
        assert ours.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1
    else:
        assert ours.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 1
    hang_up(ours)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


@pytest.mark.linux
@pytest.mark.root
def test_below_tls_there_is_a_connection_too(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    assert silence(Transport(object(), Transport(ours)))


def test_what_is_no_tcp_connection_is_left_as_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not silence(Transport(ours))
    assert not silence(Transport(None))
    assert not silence(object())
