"""Ports of a range: none twice, none lost, and the one that rested longest first."""

import socket

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from twisted_lb.backends.source_ports import LeasedSocket, SourcePorts


class Leasing(RuleBasedStateMachine):
    """Connections that lease and give back in any order, beside a plain list that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = SourcePorts(5000, 5004)
        self.free = list(range(5000, 5005))
        self.leased: list[int] = []

    @rule()
    def lease(self) -> None:
        port = self.ports.lease()
        assert port == (self.free.pop(0) if self.free else None)
        if port is not None:
            assert port not in self.leased
            self.leased.append(port)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(self.leased))
        self.leased.remove(port)
        self.free.append(port)
        self.ports.give_back(port)

    @invariant()
    def none_is_lost(self) -> None:
        assert self.ports.free == len(self.free)
        assert sorted(self.free + self.leased) == list(range(5000, 5005))


TestLeasing = Leasing.TestCase


def leased(ports: SourcePorts) -> LeasedSocket:
    port = ports.lease()
    assert port is not None
    return LeasedSocket.around(socket.SocketType(socket.AF_INET, socket.SOCK_STREAM), ports, port)


def test_a_port_is_given_back_once_when_its_socket_is_closed() -> None:
    ports = SourcePorts(65_535, 65_535)
    sock = leased(ports)
    assert sock.fileno() >= 0
    assert ports.lease() is None
    sock.close()
    sock.close()
    assert sock.fileno() == -1
    assert (ports.free, ports.lease()) == (1, 65_535)


def test_a_socket_that_is_forgotten_gives_its_port_back() -> None:
    ports = SourcePorts(1, 2)
    sock = leased(ports)
    assert ports.free == 1
    del sock
    assert ports.free == 2


def test_a_leased_socket_is_an_ordinary_one() -> None:
    ports = SourcePorts(1, 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = leased(ports)
        sock.connect(listener.getsockname())
        peer, _ = listener.accept()
        with peer:
            peer.send(b"hello")
            assert sock.recv(100) == b"hello"
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    sock.close()
    assert ports.free == 2
