"""From the backends of a configuration to servers, the ways to them, and their checks."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from tests.assembling import build, problems
from twisted_lb.assembly import Assembly
from twisted_lb.backend_assembly import target_of
from twisted_lb.backends.target import EndpointTarget, SocketTarget
from twisted_lb.errors import ConfigError
from twisted_lb.process import Process
from twisted_lb_plugins.proxy_header_v1 import ProxyV1


@pytest.fixture
def process() -> Process:
    return Process(MemoryReactor(), Clock(), None)


def test_servers_that_stay_where_they_are_keep_their_counters(process: Process) -> None:
    before = build(process)
    before.commit()
    a, b = before.backends["app"].servers
    servers = {"a": {"address": "127.0.0.1:9001", "weight": 7, "maxconn": 3}, "b": "127.0.0.1:9999"}
    after = build(process, before, backends={"app": {"servers": servers}})
    assert (a.weight, a.maxconn) == (1, 0), "something that still serves was touched before commit"
    after.commit()
    assert after.backends["app"].servers[0] is a
    assert (a.weight, a.maxconn) == (7, 3)
    assert after.backends["app"].servers[1] is not b


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:+10", "127.0.0.1:+10"),
        ("[::1]:-10", "[::1]:-10"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:@name", "unix:@name"),
    ],
)
def test_servers_of_ours_are_reached_through_socket_addresses(address: str, text: str) -> None:
    target = target_of(address, None)
    assert isinstance(target, SocketTarget)
    assert str(target) == text


def test_other_servers_are_reached_through_endpoints(process: Process) -> None:
    target = target_of("tcp:127.0.0.1:80:timeout=3", process.reactor)
    assert isinstance(target, EndpointTarget)
    assert str(target) == "tcp:127.0.0.1:80:timeout=3"


def test_a_description_that_twisted_does_not_understand_is_quoted(process: Process) -> None:
    with pytest.raises(ConfigError, match='"tcp:x" is no endpoint description'):
        target_of("tcp:x", process.reactor)


# Checks


SERVERS = {"a": "127.0.0.1:9001", "b": {"address": "[::1]:+1", "check": {"port": 80}}}


def checked(process: Process, **backend: Any) -> Assembly:
    return build(process, backends={"app": {"servers": SERVERS, "check": True, **backend}})


def test_a_server_is_checked_where_connections_go_or_at_the_port_named(process: Process) -> None:
    made = checked(process)
    assert [str(check.target) for check in made.health["app"].checks] == ["127.0.0.1:9001", "[::1]:80"]
    assert [str(server.target) for server in made.backends["app"].servers] == ["127.0.0.1:9001", "[::1]:+1"]
    assert made.checks == 2


def test_nothing_is_checked_unless_it_is_asked_for(process: Process) -> None:
    assert build(process).checks == 0
    assert checked(process, check=False).checks == 1, "the server that asks for it itself"


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"send_proxy": "v1"}, [b"", b""]),
        ({"send_proxy": "v1", "check_send_proxy": True}, [b"PROXY UNKNOWN\r\n"] * 2),
    ],
)
def test_checks_say_a_header_only_if_they_are_told_to(
    process: Process, settings: dict[str, Any], headers: list[bytes]
) -> None:
    assert [check.header for check in checked(process, **settings).health["app"].checks] == headers


def test_a_codec_that_has_no_header_for_checks_is_named(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, header: object) -> bytes:
        raise RuntimeError("oops")

    monkeypatch.setattr(ProxyV1, "encode", broken)
    backend = {"servers": SERVERS, "check": True, "send_proxy": "v1", "check_send_proxy": True}
    said = problems(process, backends={"app": backend})
    assert "backends.app.servers.a: check_send_proxy: plugin \"proxy_header_v1\" PROXY codec 'v1' raised" in said


def test_a_backend_without_a_balancer_is_none_but_its_servers_are_looked_at(process: Process) -> None:
    said = problems(process, backends={"app": {"servers": {"a": "no-such-host.invalid:80"}, "balance": "nothing"}})
    assert "backends.app.servers.a: " in said
    assert "backends.app.balance: " in said
