"""Where a server is reached, and how that is spelt."""

import socket

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.task import Clock

from twisted_lb.backends.source import OutgoingError
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget, endpoint_of
from twisted_lb.facts import SocketAddress

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
        (DestinationTarget(), "*"),
        (DestinationTarget(80), "*:80"),
        (DestinationTarget(None, 5), "*:+5"),
        (DestinationTarget(None, -5), "*:-5"),
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


@pytest.mark.parametrize(
    ("target", "host", "reached"),
    [
        (DestinationTarget(), "192.0.2.9", (socket.AF_INET, ("192.0.2.9", 8080))),
        (DestinationTarget(80), "192.0.2.9", (socket.AF_INET, ("192.0.2.9", 80))),
        (DestinationTarget(None, -80), "2001:db8::9", (socket.AF_INET6, ("2001:db8::9", 8000))),
        (DestinationTarget(), "::ffff:192.0.2.9", (socket.AF_INET, ("192.0.2.9", 8080))),
        (DestinationTarget(), "::ffff:c000:209", (socket.AF_INET, ("192.0.2.9", 8080))),
        (DestinationTarget(), "fe80::9%lo", (socket.AF_INET6, ("fe80::9%lo", 8080))),
    ],
)
def test_the_destination_of_the_client_has_the_family_that_it_has(
    target: DestinationTarget, host: str, reached: object
) -> None:
    assert target.reached_from(SocketAddress(host, 8080)) == reached


@pytest.mark.parametrize(
    ("target", "host", "port", "reason"),
    [
        (DestinationTarget(), "unix:/run/web.sock", 0, "no IP address"),
        (DestinationTarget(80), "unix:/run/web.sock", 0, "no IP address"),
        (DestinationTarget(), "unknown:X", 0, "no IP address"),
        (DestinationTarget(), "", 0, "no IP address"),
        (DestinationTarget(), "192.0.2.9", 0, "outside 1..65535"),
        (DestinationTarget(None, 1000), "192.0.2.9", 65_000, r"65000\+1000 is outside 1..65535"),
    ],
)
def test_a_destination_that_cannot_be_reached_says_why(
    target: DestinationTarget, host: str, port: int, reason: str
) -> None:
    with pytest.raises(OutgoingError, match=reason):
        target.reached_from(SocketAddress(host, port))
