"""What a configuration says of connections to servers must make sense before anything is tried."""

import re
from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError


def problems(server: Any, **backend: Any) -> list[str]:
    config = {
        "frontends": {"web": {"bind": "127.0.0.1:80", "backend": "app"}},
        "backends": {"app": {"servers": {"a": server}, **backend}},
    }
    try:
        load_dict(config, "lb.toml")
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: backends.app.") for problem in error.problems]
    return []


UNIX, ENDPOINT, IP = "unix:/run/app.sock", "tls:example.org:443", "192.0.2.1:80"


@pytest.mark.parametrize(
    ("server", "backend", "problem"),
    [
        ({"address": IP, "source": "clientip"}, {}, 'servers.a.source: "clientip": write "client_ip"'),
        (IP, {"source": "nowhere"}, 'source: "nowhere": a source is'),
        (IP, {"source": {"transparent": True}}, "source.transparent: without an address"),
        (IP, {"source": {}}, "source: write an address or an interface"),
        ({"address": UNIX, "source": "192.0.2.7"}, {}, "servers.a.source: the server is a Unix socket"),
        ({"address": UNIX, "namespace": "blue"}, {}, "servers.a.namespace: the server is a Unix socket"),
        ({"address": UNIX, "tcp": {"tos": 1}}, {}, "servers.a.tcp: the server is a Unix socket"),
        (UNIX, {"source": "client"}, "servers.a.source: the server is a Unix socket, .*write source = false"),
        ("unix:@app", {"namespace": "blue"}, "servers.a.namespace: .* of the process's own namespace: write namespace"),
        (ENDPOINT, {"source": "192.0.2.7"}, "servers.a.source: the server is a Twisted endpoint, .*source = false"),
        (ENDPOINT, {"namespace": "blue"}, "servers.a.namespace: .* a Twisted endpoint, .*namespace = false"),
        (ENDPOINT, {"tcp": {"tos": 1}}, "servers.a.tcp: the server is a Twisted endpoint"),
        ("*", {"check": True}, r"servers.a: \"\*\" is where the client wanted to go, .*check = false"),
        ("*:80", {"check": {"port": 80}}, r"servers.a: \"\*:80\" is where the client wanted to go"),
        (IP, {"check": True, "namespace": "*"}, "servers.a: namespace = .* a check has no client"),
    ],
)
def test_what_makes_no_sense_says_what_would(server: Any, backend: Any, problem: str) -> None:
    (found,) = problems(server, **backend)
    assert re.match(problem, found), found


@pytest.mark.parametrize(
    ("server", "backend"),
    [
        ("*", {}),
        (IP, {"source": {"interface": "eth0"}, "namespace": "*", "tcp": {"tos": 1}}),
        (UNIX, {"source": "192.0.2.7", "namespace": "blue", "tcp": {"tos": 1}}),
        ({"address": UNIX, "source": False}, {"source": "client"}),
        ({"address": ENDPOINT, "source": False, "namespace": False}, {"source": "client", "namespace": "blue"}),
        ({"address": IP, "check": False}, {"check": True, "namespace": "*"}),
        (IP, {"check": True, "source": "client", "namespace": "blue"}),
    ],
)
def test_what_makes_sense_is_fine(server: Any, backend: Any) -> None:
    assert problems(server, **backend) == []


def of_header(frontend: dict[str, Any], server: Any = IP, **backend: Any) -> list[str]:
    backends = {"app": {"servers": {"a": server}, **backend}, "plain": {"servers": {"a": IP}}}
    whole = {"bind": "127.0.0.1:80", "backend": "app", **frontend}
    try:
        load_dict({"frontends": {"web": whole}, "backends": backends}, "lb.toml")
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: frontends.web.") for problem in error.problems]
    return []


HTTP = {"mode": "http"}
BELIEVING = {**HTTP, "forwarded": {"except": ["10.0.0.0/8"]}}
BEHIND_A_ROUTE = {"backend": "plain", "routes": [{"backend": "app"}]}


@pytest.mark.parametrize(
    ("frontend", "problem"),
    [
        ({}, r"backend: backends.app.source is an address in requests, which only HTTP mode sees"),
        (BEHIND_A_ROUTE, r"routes\[0\].backend: backends.app.source is an address in requests"),
        (HTTP, r"forwarded: backends.app.source is the address in X-Real-IP, which any client can write: .*except"),
        ({**HTTP, "forwarded": True}, "forwarded: .* any client can write"),
        ({**HTTP, "forwarded": {"rfc7239": "append"}}, "forwarded: .* any client can write"),
        ({**HTTP, **BEHIND_A_ROUTE}, "forwarded: .* any client can write"),
    ],
)
def test_an_address_in_a_header_needs_requests_and_somebody_who_is_believed(
    frontend: dict[str, Any], problem: str
) -> None:
    (found,) = of_header(frontend, source="header:X-Real-IP")
    assert re.match(problem, found), found


def test_the_server_s_own_source_is_what_counts() -> None:
    (found,) = of_header({}, {"address": IP, "source": "header:X-Real-IP"})
    assert found.startswith("backend: backends.app.servers.a.source is an address in requests")
    assert of_header({}, {"address": IP, "source": False}, source="header:X-Real-IP") == []


@pytest.mark.parametrize("frontend", [BELIEVING, {**BELIEVING, **BEHIND_A_ROUTE}, {"backend": "plain"}])
def test_an_address_in_a_header_is_fine_where_somebody_is_believed(frontend: dict[str, Any]) -> None:
    assert of_header(frontend, source="header:X-Real-IP") == []


@pytest.mark.parametrize(
    ("server", "backend"),
    [
        (UNIX, {"source": "header:X-Real-IP"}),
        ({"address": UNIX, "source": "header:X-Real-IP"}, {}),
        (ENDPOINT, {"source": "header:X-Real-IP"}),
    ],
)
def test_a_server_that_is_not_reached_over_ip_can_have_no_such_address(server: Any, backend: dict[str, Any]) -> None:
    (found,) = of_header(BELIEVING, server, **backend)
    assert re.match("lb.toml: backends.app.servers.a.source: the server is a (Unix socket|Twisted endpoint)", found)
