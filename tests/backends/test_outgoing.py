"""How connections to servers are made, seen from the servers; and what happens if none can be."""

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from twisted_lb.backends.outgoing import BIND_ATTEMPTS, Outgoing
from twisted_lb.backends.source import OutgoingError, Source
from twisted_lb.backends.target import DestinationTarget, SocketTarget
from twisted_lb.config.addresses import ClientSource, FixedSource
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.errors import ConfigError
from twisted_lb.testing import make_facts

V4, V6 = socket.AF_INET, socket.AF_INET6
pytestmark = pytest.mark.linux
BEGUN = (0, errno.EINPROGRESS)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server on IPv4's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.settimeout(5)
        yield one


@pytest.fixture
def server6() -> Iterator[socket.socket]:
    """A server on IPv6's loopback."""
    with socket.create_server(("::1", 0), family=V6) as one:
        one.settimeout(5)
        yield one


def target_of(server: socket.socket) -> SocketTarget:
    return SocketTarget(server.family, server.getsockname())


def of(address: ClientSource | FixedSource | None, **settings: Any) -> Outgoing:
    transparent, interface = settings.pop("transparent", False), settings.pop("interface", None)
    return Outgoing(settings.pop("tcp", ConnectTcp()), Source(address, transparent, interface), **settings)


def peer_seen(
    outgoing: Outgoing, server: socket.socket, source: str = "127.9.9.9", port: int = 4321
) -> tuple[str, int]:
    """Whom the server sees when that client is served."""
    sock, code = outgoing.connect(target_of(server), make_facts(source, port), False)
    try:
        assert code in BEGUN
        connection, peer = server.accept()
        connection.close()
        return peer[:2]  # type: ignore[no-any-return]
    finally:
        sock.close()


def refused(outgoing: Outgoing, target: Any, facts: Any = None) -> str:
    with pytest.raises(OutgoingError) as caught:
        outgoing.connect(target, facts or make_facts(), False)
    return caught.value.reason


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


# The client's address


@pytest.mark.root
def test_the_server_sees_the_clients_address_and_port(server: socket.socket) -> None:
    port = unused_port()
    assert peer_seen(of(ClientSource(True)), server, "127.9.9.9", port) == ("127.9.9.9", port)


@pytest.mark.root
def test_an_ipv4_client_of_an_ipv6_listener_is_one_of_ipv4(server: socket.socket) -> None:
    port = unused_port()
    assert peer_seen(of(ClientSource(True)), server, "::ffff:127.9.9.9", port) == ("127.9.9.9", port)


@pytest.mark.root
def test_the_server_sees_the_clients_ipv6_address_and_port(server6: socket.socket) -> None:
    port = unused_port()
    assert peer_seen(of(ClientSource(True)), server6, "::1", port) == ("::1", port)


@pytest.mark.root
def test_the_server_sees_the_clients_address_with_a_port_of_the_kernels(server: socket.socket) -> None:
    host, port = peer_seen(of(ClientSource(False)), server, "127.9.9.9", 1)
    assert host == "127.9.9.9"
    assert port > 1


@pytest.mark.root
def test_a_foreign_address_is_put_on_the_socket() -> None:
    """No way leads back from it, so the socket is asked."""
    for family, host, there in ((V4, "192.0.2.77", "127.0.0.1"), (V6, "2001:db8::77", "::1")):
        target = SocketTarget(family, (there, 9))
        sock, _ = of(ClientSource(True)).connect(target, make_facts(host, 4321), False)
        assert sock.getsockname()[:2] == (host, 4321)
        sock.close()


def test_a_client_of_another_family_is_refused_and_told_of_in_the_log(server6: socket.socket) -> None:
    said: list[str] = []
    reason = refused(of(ClientSource(True), complain=said.append), target_of(server6))
    assert reason == "source: the client's address 192.0.2.1 is IPv4, and the server's IPv6"
    assert said == [reason]


def test_a_client_of_a_unix_socket_has_no_address_to_come_from(server: socket.socket) -> None:
    assert "no IP address" in refused(of(ClientSource(False)), target_of(server), make_facts("unix:", 0))


def test_without_the_capability_it_is_refused_rather_than_seen_from_here(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unprivileged(socket.SocketType):
        def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
            if option == 19:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            super().setsockopt(level, option, value)

    monkeypatch.setattr(socket, "SocketType", Unprivileged)
    assert "CAP_NET_ADMIN or CAP_NET_RAW" in refused(of(ClientSource(True)), target_of(server))


# A fixed address, ports


def test_the_server_sees_a_fixed_address(server: socket.socket) -> None:
    assert peer_seen(of(FixedSource("127.0.0.7")), server)[0] == "127.0.0.7"


def test_a_fixed_port_serves_one_connection_at_a_time(server: socket.socket) -> None:
    port = unused_port()
    outgoing = of(FixedSource("127.0.0.7", port, port))
    first, code = outgoing.connect(target_of(server), make_facts(), False)
    assert code in BEGUN
    assert refused(outgoing, target_of(server)) == f"source: port {port} of 127.0.0.7 is in use towards this server"
    first.close()


def test_an_address_that_has_gone_is_refused(server: socket.socket) -> None:
    assert "none of this machine's" in refused(of(FixedSource("192.0.2.77")), target_of(server))


def test_the_port_is_chosen_when_the_server_is_known(server: socket.socket) -> None:
    sock, _ = of(FixedSource("127.0.0.7")).connect(target_of(server), make_facts(), False)
    assert sock.getsockopt(socket.IPPROTO_IP, 24) == 1
    sock.close()


def test_an_interface_is_put_on_the_socket(server: socket.socket) -> None:
    sock, code = of(None, interface="lo").connect(target_of(server), make_facts(), False)
    assert code in BEGUN
    assert sock.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b"\0") == b"lo"
    sock.close()
    assert "interface no-such-one" in refused(of(None, interface="no-such-one"), target_of(server))


def test_ports_of_a_range_are_used_in_turn_and_again(server: socket.socket) -> None:
    low = unused_port()
    outgoing = of(FixedSource("127.0.0.8", low, low + 2))
    assert outgoing.ports is not None
    held = [outgoing.connect(target_of(server), make_facts(), False)[0] for _ in range(3)]
    assert [sock.getsockname()[1] for sock in held] == [low, low + 1, low + 2]
    assert refused(outgoing, target_of(server)) == "source port range exhausted"
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    assert outgoing.ports.free == 3
    assert peer_seen(outgoing, server)[1] == low
    assert outgoing.ports.free == 3


def test_a_port_that_is_taken_is_passed_over_at_bind_and_at_connect(server: socket.socket) -> None:
    low = unused_port()
    outgoing = of(FixedSource("127.0.0.9", low, low + 2))
    at_connect, _ = of(FixedSource("127.0.0.9", low, low)).connect(target_of(server), make_facts(), False)
    server.accept()[0].close()
    with socket.create_server(("127.0.0.9", low + 1)):
        assert peer_seen(outgoing, server)[1] == low + 2
    at_connect.close()
    assert outgoing.ports is not None
    assert outgoing.ports.free == 3


def test_ten_ports_are_tried_and_none_is_lost(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def in_use(sock: object, address: Any) -> None:
        tried.append(address[1])
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr("twisted_lb.backends.source_ports.LeasedSocket.bind", in_use, raising=False)
    outgoing = of(FixedSource("127.0.0.9", 40_000, 40_099))
    assert "none of the next 10 ports" in refused(outgoing, target_of(server))
    assert tried == list(range(40_000, 40_000 + BIND_ATTEMPTS))
    assert outgoing.ports is not None
    assert outgoing.ports.free == 100


def test_a_reload_keeps_the_leases_of_the_same_range_alone() -> None:
    before = of(FixedSource("127.0.0.9", 40_000, 40_099))
    assert of(FixedSource("127.0.0.9", 40_000, 40_099), before=before).ports is before.ports
    assert of(FixedSource("127.0.0.9", 40_000, 40_098), before=before).ports is not before.ports
    assert of(FixedSource("127.0.0.9"), before=before).ports is None


# Where the client wanted to go


def test_the_clients_destination_is_connected_to(server: socket.socket) -> None:
    host, port = server.getsockname()
    facts = make_facts(destination=host, destination_port=port - 1)
    sock, code = Outgoing(ConnectTcp()).connect(DestinationTarget(None, 1), facts, False)
    assert code in BEGUN
    server.accept()[0].close()
    sock.close()


def test_a_loop_is_refused(server: socket.socket) -> None:
    host, port = server.getsockname()
    outgoing = Outgoing(ConnectTcp(), listening={(None, host, port)})
    reason = refused(outgoing, DestinationTarget(), make_facts(destination=host, destination_port=port))
    assert reason == f"loop: {host}:{port} leads to a listener of this proxy"


def test_a_destination_that_is_no_address_is_refused() -> None:
    facts = make_facts(destination="unix:/run/web.sock", destination_port=0)
    assert "no IP address to connect to" in refused(Outgoing(ConnectTcp()), DestinationTarget(80), facts)


# Namespaces, options


class Recording:
    """A namespace that notes what is made in it."""

    is_home = False
    identity = (1, 2)

    def __init__(self, name: str) -> None:
        self.name = name
        self.made = 0

    def socket(self, family: int, type: int, proto: int = 0) -> socket.SocketType:
        self.made += 1
        return socket.SocketType(family, type, proto)


def test_connections_are_made_in_the_servers_or_in_the_clients_namespace(server: socket.socket) -> None:
    blue: Any = Recording("blue")
    outgoing = Outgoing(ConnectTcp(), namespace=blue)
    outgoing.connect(target_of(server), make_facts(), False)[0].close()
    assert blue.made == 1
    outgoing.for_checks().connect_check(target_of(server), False)[0].close()
    assert blue.made == 2
    facts = make_facts()
    of_client = Outgoing(ConnectTcp(), namespaces={"blue": blue})
    of_client.connect(target_of(server), facts, False)[0].close()
    assert blue.made == 2, "who came in by no namespace is served in the process's own"
    facts.namespace = "blue"
    of_client.connect(target_of(server), facts, False)[0].close()
    assert blue.made == 3
    facts.namespace = "green"
    assert refused(of_client, target_of(server), facts) == "namespace: the client's, green, is not open"


def test_options_are_on_the_socket_of_a_connection_and_of_a_check(server: socket.socket) -> None:
    outgoing = Outgoing(ConnectTcp(tos=32), Source(FixedSource("127.0.0.7"), False, None))
    for sock, code in (
        outgoing.connect(target_of(server), make_facts(), False),
        outgoing.for_checks().connect_check(target_of(server), False),
    ):
        assert code in BEGUN
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 32
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockname()[0] == "127.0.0.7"
        sock.close()


def test_what_cannot_be_is_told_at_the_start_with_its_key(server: socket.socket) -> None:
    outgoing = of(FixedSource("192.0.2.77"), tcp=ConnectTcp(congestion="no-such-one"))
    with pytest.raises(ConfigError) as caught:
        outgoing.check(target_of(server))
    tcp, source = caught.value.problems
    assert tcp.startswith("tcp.congestion: ")
    assert source.startswith("source: 192.0.2.77 is no address of this machine")
