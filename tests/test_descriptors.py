"""The limit of descriptors is raised, and what does not fit within it is said."""

import resource
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.descriptors import (
    SPARE_DESCRIPTORS,
    descriptors_each,
    fit_descriptors,
    idle_descriptors,
    policy_descriptors,
)
from twisted_lb.errors import ConfigError
from twisted_lb.testing import make_runtime
from twisted_lb_plugins.policy_dnsbl import DnsblOptions
from twisted_lb_plugins.policy_dnsbl import build as build_dnsbl
from twisted_lb_plugins.policy_http_authorizer import HttpAuthorizerOptions
from twisted_lb_plugins.policy_http_authorizer import build as build_authorizer


def problem_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def descriptor_limit() -> Iterator[int]:
    """The hard limit; what a test does to the soft one is undone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_soft_limit_is_raised_as_far_as_it_goes(descriptor_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, descriptor_limit))
    assert fit_descriptors(None, 1) == (descriptor_limit - SPARE_DESCRIPTORS - 1) // 2
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == descriptor_limit


def test_a_maxconn_that_does_not_fit_says_what_would(descriptor_limit: int) -> None:
    with pytest.raises(ConfigError) as caught:
        fit_descriptors(descriptor_limit, 3)
    assert f"process.maxconn = {descriptor_limit}" in str(caught.value)
    assert f"the limit is {descriptor_limit}" in str(caught.value)
    assert "3 for listeners" in str(caught.value)
    assert fit_descriptors(10, 3) == 10
    assert "2 for health checks" in problem_of(lambda: fit_descriptors(descriptor_limit, 3, 2))


def test_connections_whose_bodies_may_be_held_in_files_take_three_descriptors(descriptor_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, descriptor_limit))
    assert fit_descriptors(None, 1, each=3) == (descriptor_limit - SPARE_DESCRIPTORS - 1) // 3
    assert "three for each connection" in problem_of(lambda: fit_descriptors(descriptor_limit // 2, 3, each=3))


@pytest.mark.parametrize(
    ("setting", "each"),
    [(False, 2), (True, 3), ({"max": "2MiB"}, 3), ({"memory": "1MiB", "max": "1MiB"}, 2), ({"memory": "0B"}, 3)],
)
def test_only_bodies_that_do_not_fit_into_memory_need_files(setting: Any, each: int) -> None:
    settings = {"frontends": {"web": {"bind": "unix:/x", "backend": "app", "mode": "http", "buffer_request": setting}}}
    backends = {"backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}}
    assert descriptors_each(load_dict({**settings, **backends}, "lb.toml")) == each


def test_policies_that_ask_others_say_how_many_they_take(descriptor_limit: int) -> None:
    """With ``max_queries = 1000`` there were none left for connections, of which there were as many as fit."""
    options = DnsblOptions(zones=["bl.example"], resolvers=["127.0.0.1"], max_queries=70)
    policies = [build_dnsbl(options, make_runtime()), object(), SimpleNamespace(most_descriptors="many")]
    asking = policy_descriptors(policies)
    authorizer = build_authorizer(HttpAuthorizerOptions(url="http://127.0.0.1:9/", max_requests=30), make_runtime())
    assert (asking, policy_descriptors([authorizer])) == (70, 30)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, descriptor_limit))
    assert fit_descriptors(None, 1, asking=70) == (descriptor_limit - SPARE_DESCRIPTORS - 71) // 2
    assert "70 for questions of policies" in problem_of(lambda: fit_descriptors(descriptor_limit, 3, asking=70))


def test_idle_connections_to_servers_take_theirs(descriptor_limit: int) -> None:
    servers = {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    web = {"bind": "unix:/x", "backend": "app", "mode": "http"}
    backends: Any = {"app": {"servers": servers, "pool": {"max": 30}}, "other": {"servers": servers}}
    settings = {"frontends": {"web": web}, "backends": backends}
    assert idle_descriptors(load_dict(settings, "lb.toml")) == 60
    backends["app"]["http_server_close"] = True
    assert idle_descriptors(load_dict(settings, "lb.toml")) == 0
    tcp = {
        "frontends": {"web": {**web, "mode": "tcp", "backend": "other"}},
        "backends": {"other": {"servers": servers}},
    }
    assert idle_descriptors(load_dict(tcp, "lb.toml")) == 0
    assert fit_descriptors(None, 1, idle=60) == (descriptor_limit - SPARE_DESCRIPTORS - 61) // 2
    assert "60 for idle connections" in problem_of(lambda: fit_descriptors(descriptor_limit, 3, idle=60))
