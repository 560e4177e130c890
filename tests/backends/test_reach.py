"""From settings to connections: who gets what, and which key is blamed."""

from collections.abc import Mapping
from typing import Any

import pytest

from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.reach import Surroundings, outgoing_for
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget, Target
from twisted_lb.config.model import Backend, Server, Source
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.namespace import Namespaces
from twisted_lb.networks import Networks
from twisted_lb.testing import make_facts

TARGET = SocketTarget(2, ("127.0.0.1", 80))


def made(server: Mapping[str, Any], backend: Mapping[str, Any], target: Target = TARGET, streams: bool = True) -> Any:
    around = Surroundings(Namespaces(), dict, (), streams, lambda where, what: None)
    settings = Server(address="127.0.0.1:80", **server)
    return outgoing_for(("app", "a"), Backend(servers={"a": settings}, **backend), settings, target, around, None)


def test_a_server_without_settings_is_connected_to_the_plain_way() -> None:
    assert made({}, {}) is None
    assert made({"source": False, "namespace": False}, {"source": Source(address="client"), "namespace": "x"}) is None


@pytest.mark.linux
def test_a_server_with_settings_has_them() -> None:
    outgoing = made({"tcp": ConnectTcp(tos=32)}, {"source": Source(address="127.0.0.7:5000-5009")})
    assert isinstance(outgoing, Outgoing)
    assert outgoing.tcp.tos == 32
    assert outgoing.ports is not None
    assert (outgoing.ports.low, outgoing.ports.high) == (5000, 5009)
    assert isinstance(made({}, {}, DestinationTarget()), Outgoing), "a loop must be found"


@pytest.mark.root
@pytest.mark.linux
def test_an_address_in_a_header_is_taken_from_those_who_are_believed() -> None:
    believed = {"web": Networks.parse(["10.0.0.0/8"])}
    around = Surroundings(Namespaces(), dict, (), True, lambda where, what: None, lambda: believed)
    settings = Server(address="127.0.0.1:80")
    backend = Backend(servers={"a": settings}, source=Source(address="header:X-Real-IP"))
    outgoing = outgoing_for(("app", "a"), backend, settings, TARGET, around, None)
    assert outgoing is not None
    assert outgoing.source is not None
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Real-IP: 192.0.2.1\r\n\r\n"
    assert outgoing.source.of_request(make_facts("10.0.0.1", request=request)) == (2, "192.0.2.1")
    assert outgoing.source.of_request(make_facts("192.0.2.8", request=request)) is None


def test_what_an_endpoint_or_a_unix_socket_inherits_is_not_for_it() -> None:
    for target in (EndpointTarget("x", None), SocketTarget(1, "/run/app.sock")):
        assert made({}, {"source": Source(address="127.0.0.7")}, target) is None


@pytest.mark.linux
@pytest.mark.parametrize(
    ("server", "backend", "problem"),
    [
        ({"source": Source(address="192.0.2.77")}, {}, "backends.app.servers.a.source: 192.0.2.77 is no address"),
        ({}, {"source": Source(address="192.0.2.77")}, "backends.app.source: 192.0.2.77 is no address"),
        ({"namespace": "no-such"}, {}, 'backends.app.servers.a.namespace: "no-such": there is no'),
        ({}, {"namespace": "no-such"}, 'backends.app.namespace: "no-such": there is no'),
        ({}, {"tcp": ConnectTcp(congestion="no-such")}, "backends.app.tcp.congestion: "),
        ({"tcp": ConnectTcp(tos=32)}, {"tcp": ConnectTcp(congestion="no-such")}, "backends.app.tcp.congestion: "),
        ({"tcp": ConnectTcp(tos=3)}, {"tcp": ConnectTcp(mark=1)}, "backends.app.servers.a.tcp.tos: "),
    ],
)
def test_a_problem_names_the_key_that_it_comes_from(server: Any, backend: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(server, backend)
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("backend", "target", "key"),
    [
        ({"source": Source(address="client")}, TARGET, "backends.app.source"),
        ({"namespace": "blue"}, TARGET, "backends.app.namespace"),
        ({"tcp": ConnectTcp(tos=32)}, TARGET, "backends.app.tcp"),
        ({}, DestinationTarget(), "backends.app.servers.a"),
    ],
)
def test_without_streams_of_ours_each_of_them_is_an_error(backend: Any, target: Target, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: this needs Linux"):
        made({}, backend, target, streams=False)
