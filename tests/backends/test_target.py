"""Where a server is reached, and how that is spelt."""

import socket

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.task import Clock

from twisted_lb.backends.target import EndpointTarget, SocketTarget, endpoint_of

V4 = ("192.0.2.1", 9001)
V6 = ("2001:db8::1", 9001, 0, 3)


def test_a_fixed_port_does_not_depend_on_the_client() -> None:
    target = SocketTarget(socket.AF_INET, V4)
    assert target.sockaddr_for(8080) == target.sockaddr_for(0) == V4


@pytest.mark.parametrize(
    ("client_port", "offset", "port"),
    [
        (8080, 0, 8080),
        (7000, 1000, 8000),
        (7000, -1000, 6000),
        (64_535, 1000, 65_535),
        (64_536, 1000, None),
        (1001, -1000, 1),
        (1000, -1000, None),
        (999, -1000, None),
        (65_535, 65_535, None),
        (0, 0, None),
        (0, 1000, None),
    ],
)
def test_an_offset_leads_to_a_port_or_to_none_and_never_wraps(client_port: int, offset: int, port: int | None) -> None:
    """A client of a Unix socket came to no port at all, which is 0 here."""
    assert SocketTarget(socket.AF_INET, V4, offset).sockaddr_for(client_port) == (port and ("192.0.2.1", port))


def test_an_ipv6_address_keeps_its_scope() -> None:
    assert SocketTarget(socket.AF_INET6, V6, 1).sockaddr_for(80) == ("2001:db8::1", 81, 0, 3)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (SocketTarget(socket.AF_INET, V4), "192.0.2.1:9001"),
        (SocketTarget(socket.AF_INET, V4, 0), "192.0.2.1"),
        (SocketTarget(socket.AF_INET, V4, 1000), "192.0.2.1:+1000"),
        (SocketTarget(socket.AF_INET, V4, -1), "192.0.2.1:-1"),
        (SocketTarget(socket.AF_INET6, V6), "[2001:db8::1]:9001"),
        (SocketTarget(socket.AF_INET6, V6, 5), "[2001:db8::1]:+5"),
        (SocketTarget(socket.AF_UNIX, "/run/app.sock"), "unix:/run/app.sock"),
        (SocketTarget(socket.AF_UNIX, b"\0app"), "unix:@app"),
        (EndpointTarget("tcp:example.org:80", object()), "tcp:example.org:80"),
    ],
)
def test_it_is_spelt_as_the_configuration_spells_it(target: object, text: str) -> None:
    assert str(target) == text


def test_without_a_poller_the_endpoint_is_of_the_targets_family() -> None:
    reactor = Clock()
    for family, sockaddr, kind in (
        (socket.AF_INET, ("192.0.2.1", 80), TCP4ClientEndpoint),
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0), TCP6ClientEndpoint),
        (socket.AF_UNIX, "/run/app.sock", UNIXClientEndpoint),
    ):
        assert type(endpoint_of(reactor, SocketTarget(family, sockaddr), sockaddr)) is kind
