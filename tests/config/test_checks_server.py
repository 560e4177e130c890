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
