"""What applies in the end, after defaults and after what one setting lends another."""

import math
from typing import Any

import pytest

from twisted_lb.config.inherit import (
    BackendTimers,
    FrontendTimers,
    accept_proxy,
    access_log,
    backend_timers,
    balance,
    check,
    check_send_proxy,
    check_timeout,
    frontend_timers,
    redispatch,
    retries,
    send_proxy,
)
from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Check, Config
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.units import Duration


def loaded(defaults: dict[str, Any], frontend: dict[str, Any], backend: dict[str, Any]) -> Config:
    return load_dict(
        {
            "defaults": defaults,
            "frontends": {"web": {"bind": "*:80", "backend": "app", **frontend}},
            "backends": {"app": {"servers": {"a": "localhost"}, **backend}},
        },
        "test",
    )


def of_frontend(client: float | None, **others: float | None) -> FrontendTimers:
    """The timers of a frontend whose timers of HTTP are not set."""
    return FrontendTimers(client=client, http_request=client, http_keep_alive=client, tarpit=5, **others)


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ({}, {}, of_frontend(client=30, client_fin=None, inspect=5, policy=5)),
        ({"client": "9s"}, {}, of_frontend(client=9, client_fin=None, inspect=5, policy=5)),
        ({"client": "9s"}, {"client": "8s"}, of_frontend(client=8, client_fin=None, inspect=5, policy=5)),
        ({"client_fin": "2s"}, {"client": "8s"}, of_frontend(client=8, client_fin=2, inspect=5, policy=5)),
        (
            {"client_fin": "2s"},
            {"client_fin": "off"},
            of_frontend(client=30, client_fin=math.inf, inspect=5, policy=5),
        ),
        ({"policy": "off"}, {"inspect": "off"}, of_frontend(client=30, client_fin=None, inspect=None, policy=None)),
        ({"client": "off"}, {}, of_frontend(client=None, client_fin=None, inspect=5, policy=5)),
    ],
)
def test_a_frontends_timers(defaults: dict[str, str], own: dict[str, str], expected: FrontendTimers) -> None:
    assert frontend_timers(loaded({"timeouts": defaults}, {"timeouts": own}, {}), "web") == expected


def test_a_frontends_timers_of_http() -> None:
    def found(defaults: dict[str, str], own: dict[str, str]) -> tuple[float | None, ...]:
        timers = frontend_timers(loaded({"timeouts": defaults}, {"mode": "http", "timeouts": own}, {}), "web")
        return timers.http_request, timers.http_keep_alive, timers.tarpit

    assert found({}, {"client": "8s"}) == (8, 8, 5)
    assert found({"connect": "2s"}, {"http_request": "3s"}) == (3, 3, 2)
    assert found({"http_keep_alive": "1s", "tarpit": "off"}, {"http_request": "off"}) == (None, 1, None)


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ({}, {}, BackendTimers(connect=5, queue=5, server=30, server_fin=None, tunnel=None)),
        ({}, {"connect": "1s"}, BackendTimers(connect=1, queue=1, server=30, server_fin=None, tunnel=None)),
        (
            {"queue": "off"},
            {"connect": "1s"},
            BackendTimers(connect=1, queue=None, server=30, server_fin=None, tunnel=None),
        ),
        ({"server": "9s"}, {"queue": "2s"}, BackendTimers(connect=5, queue=2, server=9, server_fin=None, tunnel=None)),
        ({}, {"server_fin": "off"}, BackendTimers(connect=5, queue=5, server=30, server_fin=math.inf, tunnel=None)),
        ({"tunnel": "1h"}, {}, BackendTimers(connect=5, queue=5, server=30, server_fin=None, tunnel=3600)),
        (
            {"tunnel": "1h"},
            {"tunnel": "off"},
            BackendTimers(connect=5, queue=5, server=30, server_fin=None, tunnel=math.inf),
        ),
    ],
)
def test_a_backends_timers(defaults: dict[str, str], own: dict[str, str], expected: BackendTimers) -> None:
    assert backend_timers(loaded({"timeouts": defaults}, {}, {"timeouts": own}), "app") == expected


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ({}, {}, "text"),
        ({"access_log": "json"}, {}, "json"),
        ({"access_log": "json"}, {"access_log": "text"}, "text"),
        ({"access_log": "json"}, {"access_log": "none"}, None),
        ({"access_log": "none"}, {}, None),
        ({"access_log": "none"}, {"access_log": "text"}, "text"),
    ],
)
def test_a_frontends_access_log(defaults: dict[str, str], own: dict[str, str], expected: str | None) -> None:
    use = access_log(loaded(defaults, own, {}), "web")
    assert (use.use if use else None) == expected


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ({}, {}, ("round_robin", 3, -1)),
        ({"balance": "first", "retries": 1, "redispatch": 2}, {}, ("first", 1, 2)),
        (
            {"balance": "first", "retries": 1, "redispatch": 2},
            {"balance": "random", "retries": 0, "redispatch": 0},
            ("random", 0, 0),
        ),
    ],
)
def test_a_backends_other_settings(
    defaults: dict[str, Any], own: dict[str, Any], expected: tuple[str, int, int]
) -> None:
    config = loaded(defaults, {}, own)
    assert (balance(config, "app").use, retries(config, "app"), redispatch(config, "app")) == expected


@pytest.mark.parametrize(
    ("frontend", "bind", "expected"),
    [
        ({}, {}, None),
        ({"accept_proxy": True}, {}, AcceptProxy()),
        ({"accept_proxy": True}, {"accept_proxy": False}, None),
        ({}, {"accept_proxy": True}, AcceptProxy()),
        ({"accept_proxy": {"timeout": "5s"}}, {}, AcceptProxy(timeout=Duration(5))),
        ({"accept_proxy": {"timeout": "5s"}}, {"accept_proxy": True}, AcceptProxy()),
        (
            {"accept_proxy": {"timeout": "5s"}},
            {"accept_proxy": {"from": ["::1"], "others": "direct"}},
            AcceptProxy(from_=["::1"], others="direct"),
        ),
    ],
)
def test_the_headers_that_a_binds_clients_must_send(
    frontend: dict[str, Any], bind: dict[str, Any], expected: AcceptProxy | None
) -> None:
    config = loaded({}, {"bind": {"address": "*:80", **bind}, **frontend}, {})
    assert accept_proxy(config, "web", config.frontends["web"].bind[0]) == expected


@pytest.mark.parametrize(
    ("backend", "server", "expected"),
    [
        ({}, {}, None),
        ({"send_proxy": "v2"}, {}, SendProxy(version="v2")),
        ({"send_proxy": "v2"}, {"send_proxy": False}, None),
        ({"send_proxy": False}, {"send_proxy": "v1"}, SendProxy(version="v1")),
        ({"send_proxy": {"version": "v2", "forward_tlvs": ["all"]}}, {"send_proxy": "v2"}, SendProxy(version="v2")),
        ({"send_proxy": {"version": "mine", "tlvs": {}}}, {}, SendProxy(version="mine")),
    ],
)
def test_the_header_that_a_server_gets(
    backend: dict[str, Any], server: dict[str, Any], expected: SendProxy | None
) -> None:
    config = loaded({}, {}, {"servers": {"a": {"address": "localhost", **server}}, **backend})
    assert send_proxy(config.backends["app"], config.backends["app"].servers["a"]) == expected


@pytest.mark.parametrize(
    ("backend", "server", "expected"),
    [
        ({}, {}, None),
        ({"check": True}, {}, Check()),
        ({"check": True}, {"check": False}, None),
        ({}, {"check": True}, Check()),
        ({"check": {"fall": 1}}, {}, Check(fall=1)),
        ({"check": {"fall": 1}}, {"check": {"rise": 9}}, Check(rise=9)),
    ],
)
def test_how_a_server_is_checked(backend: dict[str, Any], server: dict[str, Any], expected: Check | None) -> None:
    config = loaded({}, {}, {"servers": {"a": {"address": "localhost:80", **server}}, **backend})
    assert check(config.backends["app"], config.backends["app"].servers["a"]) == expected


@pytest.mark.parametrize(
    ("connect", "settings", "expected"),
    [
        ("5s", {}, 2),
        ("1s", {}, 1),
        ("off", {}, 2),
        ("1s", {"interval": "500ms"}, 0.5),
        ("1s", {"timeout": "10s"}, 10),
    ],
)
def test_a_check_may_take_as_long_as_connecting_but_at_most_its_interval_unless_it_says_otherwise(
    connect: str, settings: dict[str, Any], expected: float
) -> None:
    backend = {"servers": {"a": "localhost:80"}, "check": settings, "timeouts": {"connect": connect}}
    config = loaded({}, {}, backend)
    found = check(config.backends["app"], config.backends["app"].servers["a"])
    assert found is not None
    assert check_timeout(config, "app", found) == expected


@pytest.mark.parametrize(
    ("backend", "server", "expected"),
    [
        ({"send_proxy": "v2"}, {}, False),
        ({"send_proxy": "v2", "check_send_proxy": True}, {}, True),
        ({"send_proxy": "v2", "check_send_proxy": True}, {"check_send_proxy": False}, False),
        ({"send_proxy": "v2"}, {"check_send_proxy": True}, True),
        ({"check_send_proxy": True}, {"send_proxy": "v1"}, True),
    ],
)
def test_whether_checks_begin_with_a_header(backend: dict[str, Any], server: dict[str, Any], expected: bool) -> None:
    one = {"address": "localhost:80", "check": True, **server}
    config = loaded({}, {}, {"servers": {"a": one}, **backend})
    assert check_send_proxy(config.backends["app"], config.backends["app"].servers["a"]) is expected


def test_a_server_without_a_header_has_none_in_its_checks_either() -> None:
    servers = {"a": {"address": "localhost:80", "send_proxy": False}, "b": "localhost:81"}
    config = loaded({}, {}, {"servers": servers, "send_proxy": "v2", "check": True, "check_send_proxy": True})
    backend = config.backends["app"]
    assert [check_send_proxy(backend, server) for server in backend.servers.values()] == [False, True]


@pytest.mark.parametrize(("others", "direct"), [(None, False), ("reject", False), ("direct", True)])
def test_others_are_refused_unless_they_may_come_directly(others: Any, direct: bool) -> None:
    assert AcceptProxy(from_=["10.0.0.0/8"], others=others).direct is direct
