"""What a bind says of the network under it, against its address and against itself."""

from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError


def problems(bind: dict[str, Any] | list[Any], **frontend: Any) -> list[str]:
    """What the loader says of a frontend with that bind, without the file's name."""
    servers = {"a": "localhost:80"}
    data = {
        "frontends": {"web": {"bind": bind, "backend": "app", **frontend}},
        "backends": {"app": {"servers": servers}},
    }
    try:
        load_dict(data, "lb.toml")
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: ") for problem in error.problems]
    return []


FITTING: list[dict[str, Any]] = [
    {"address": "*:80", "transparent": True, "interface": "eth0", "namespace": "blue", "tcp": {"multipath": True}},
    {"address": "fd:3", "original_dst": True, "tcp": {"nodelay": False}},
    {"address": "unix:@x", "namespace": "/run/netns/blue"},
    {"address": "unix:/x", "transparent": False, "original_dst": False},
]


@pytest.mark.parametrize("bind", FITTING, ids=[str(bind["address"]) for bind in FITTING])
def test_what_fits_is_taken(bind: dict[str, Any]) -> None:
    assert problems(bind) == []


VALUES = {"transparent": True, "original_dst": True, "interface": "eth0", "namespace": "blue", "tcp": {"mark": 1}}
MISFITS = [
    *(("unix:/x", key, "a Unix socket with a path") for key in VALUES),
    *(("tcp:80", key, "an endpoint description of Twisted's") for key in VALUES),
    *(("unix:@x", key, "an abstract Unix socket") for key in VALUES if key != "namespace"),
    *(
        ("fd:3", key, "a descriptor that was passed to this process")
        for key in ("transparent", "interface", "namespace")
    ),
]


@pytest.mark.parametrize(("address", "key", "what"), MISFITS)
def test_what_an_address_of_another_kind_cannot_have_is_an_error(address: str, key: str, what: str) -> None:
    (problem,) = problems({"address": address, key: VALUES[key]})
    assert problem == f'frontends.web.bind[0].{key}: not possible for "{address}", which is {what}'


@pytest.mark.parametrize(
    ("bind", "frontend", "said"),
    [
        ({"address": "*:80", "transparent": True, "original_dst": True}, {}, "bind[0].original_dst: not together with"),
        ({"address": "*:80", "original_dst": True}, {"tcp": {"multipath": True}}, "not together with tcp.multipath"),
        ({"address": "fd:3", "tcp": {"multipath": True}}, {}, "bind[0].tcp.multipath: whoever opened"),
        ({"address": "fd:3", "tcp": {"reuse_port": True}}, {}, "bind[0].tcp.reuse_port: whoever opened"),
        ({"address": "*:80", "tcp": {"fin_wait": "0s"}}, {}, "bind[0].tcp.fin_wait: cannot be 0"),
        ({"address": "*:80"}, {"tcp": {"fin_wait": "0s"}}, "web.tcp.fin_wait: cannot be 0"),
        ({"address": "unix:/x"}, {"tcp": {"mark": 1}}, "web.tcp: none of this frontend's binds is a TCP socket"),
        ({"address": "*:80", "namespace": "*"}, {}, 'bind[0].namespace: "*" is the client\'s'),
        ({"address": "*:80"}, {"accept_proxy": {"namespaces": ["*"]}}, 'web.accept_proxy.namespaces: "*" is the'),
        ({"address": "*:80"}, {"accept_proxy": {"namespaces": ["a", "a"]}}, 'namespaces: "a" is there twice'),
        ({"address": "*:80"}, {"accept_proxy": {"namespaces": ["a"], "versions": ["v1"]}}, "a v1 header has no room"),
    ],
)
def test_what_contradicts_itself_is_an_error(bind: dict[str, Any], frontend: dict[str, Any], said: str) -> None:
    (problem,) = problems(bind, **frontend)
    assert said in problem


def test_a_frontends_options_pass_by_the_binds_that_cannot_have_them() -> None:
    assert problems(["unix:/x", "*:80"], tcp={"mark": 1}) == []


def test_one_address_in_two_namespaces_or_on_two_interfaces_is_no_clash() -> None:
    places: list[Any] = [{}, {"namespace": "a"}, {"namespace": "b"}, {"interface": "a"}, {"interface": "b"}]
    assert problems([{"address": "*:80", **place} for place in places]) == []
    assert problems([{"address": "unix:@x", "namespace": place} for place in "ab"]) == []
    (problem,) = problems([{"address": "*:80", "namespace": "a"}] * 2)
    assert "port 80 of" in problem
