"""Settings of HTTP where there is none, routes that lead nowhere, and fields that are not for a setting to change."""

from typing import Any

import pytest

from twisted_lb.config import model
from twisted_lb.config.checks_http import _OF_BACKENDS, _OF_FRONTENDS, _OF_TIMEOUTS
from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError


def problems(frontend: dict[str, Any], backend: dict[str, Any] | None = None, **more: Any) -> list[str]:
    """What is wrong with such a frontend, and such a backend."""
    data = {
        "frontends": {"web": {"bind": "*:80", "backend": "app", **frontend}, **more},
        "backends": {"app": {"servers": {"a": "127.0.0.1:1"}, **(backend or {})}},
    }
    try:
        load_dict(data, "lb.toml")
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: ") for problem in error.problems]
    return []


ELSEWHERE: dict[str, Any] = {
    "max_head": "8KiB",
    "max_fields": 50,
    "accept_invalid_http_request": True,
    "accept_payload_with_any_method": True,
    "restrict_header_names": "reject",
    "forwarded": True,
    "via": "lb",
    "request_headers": {"set": {"X-A": "1"}},
    "response_headers": {"remove": ["Server"]},
    "error_files": {"503": "/tmp/503.html"},
    "json_errors": True,
    "monitor_uri": "/health",
    "reject_unknown_hosts": True,
    "min_rate": {"rate": "1KiB"},
    "buffer_request": True,
    "body_filters": ["x"],
}


def test_there_is_a_value_to_try_for_every_setting() -> None:
    assert set(ELSEWHERE) == set(_OF_FRONTENDS)


@pytest.mark.parametrize("key", ELSEWHERE)
def test_a_setting_of_http_in_a_frontend_without_is_an_error_that_names_it(key: str) -> None:
    assert problems({key: ELSEWHERE[key]}) == [f'frontends.web.{key}: only in mode = "http"']
    assert not [one for one in problems({key: ELSEWHERE[key], "mode": "http"}) if "only in" in one]


def test_whose_word_counts_are_networks() -> None:
    """Seen: without the key, and in place of what else was wrong with the frontend."""
    frontend = {"mode": "http", "forwarded": {"except": ["10.0.0.0/8", "10.0.0.1/8"]}}
    assert problems(frontend) == [
        'frontends.web.forwarded.except: "10.0.0.1/8" is no network: 10.0.0.1/8 has host bits set'
    ]


def test_the_bound_of_a_body_may_be_less_than_the_memory_for_it() -> None:
    """Seen: whoever lowered ``max`` below the default of ``memory`` had to set that too."""
    assert problems({"mode": "http", "buffer_request": {"max": "1KiB"}}) == []


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"monitor_uri": "health"}, 'monitor_uri: expected a path that begins with a slash, such as "/health"'),
        ({"via": "a b"}, "via: expected a name made of letters, digits and . _ : -"),
        ({"error_files": {"200": "a.html"}}, 'error_files.200: expected a status from "400" to "599" as a string'),
    ],
)
def test_what_is_expected_is_said_in_words(setting: dict[str, Any], problem: str) -> None:
    """Seen: a regular expression."""
    (found,) = problems({"mode": "http", **setting})
    assert found.startswith(f"frontends.web.{problem}, got ")


def test_a_message_stays_on_its_line() -> None:
    """Seen: the line end of a wrong value in the middle of the message about it."""
    (found,) = problems({"mode": "http", "request_headers": {"set": {"X-A": "a\nb"}}})
    assert found.endswith(r'got "a\nb"')


@pytest.mark.parametrize("key", _OF_TIMEOUTS)
def test_so_is_a_timeout(key: str) -> None:
    timeouts = {"timeouts": {key: "1s"}}
    assert problems(timeouts) == [f'frontends.web.timeouts.{key}: only in mode = "http"']
    assert problems({"mode": "http", **timeouts}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http_reuse", "never"),
        ("http_server_close", True),
        ("pool", {"max": 3}),
        ("accept_invalid_http_response", True),
        ("request_headers", {"remove": ["X-A"]}),
        ("response_headers", {"remove": ["X-A"]}),
    ],
)
def test_so_is_a_setting_of_a_backend_that_only_tcp_uses(key: str, value: Any) -> None:
    assert key in _OF_BACKENDS
    says = f"backends.app.{key}: has an effect in HTTP, and only frontends in TCP mode use this backend"
    assert problems({}, {key: value}) == [says]
    assert problems({"mode": "http"}, {key: value}) == []
    both = {"bind": "*:81", "backend": "app", "mode": "http"}
    assert problems({}, {key: value}, other=both) == []


# Routes


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"backend": "ap"}, 'routes[0].backend: there is no backend "ap"; did you mean "app"?'),
        ({}, "routes[0]: where to? give a backend, or refuse = true"),
        ({"backend": "app", "refuse": True}, "routes[0]: where to? one of backend and refuse is enough"),
        ({"backend": "app", "path_regex": "/a("}, "routes[0].path_regex: no regular expression: missing ), "),
        ({"backend": "app", "host": "a b"}, 'routes[0].host: neither a host nor "*." and a host: "a b"'),
        ({"backend": "app", "headers": {"a b": "1"}}, "routes[0].headers"),
        ({"backend": "app", "hots": "a"}, 'routes[0].hots: unknown key; did you mean "host"?'),
    ],
)
def test_a_route_s_mistake_is_told_with_its_place(route: dict[str, Any], says: str) -> None:
    (problem,) = problems({"mode": "http", "routes": [route]})
    assert problem.startswith(f"frontends.web.{says}")


def test_a_route_behind_one_that_takes_everything_is_an_error() -> None:
    routes = [{"backend": "app"}, {"backend": "app", "host": ["a.example"]}]
    assert problems({"mode": "http", "routes": routes}) == [
        "frontends.web.routes[1]: is never reached: routes[0] takes everything"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", ["a.example"]),
        ("path", "/a"),
        ("path_prefix", "/a"),
        ("path_regex", "/a"),
        ("method", "GET"),
        ("headers", {"X-A": "1"}),
    ],
)
def test_a_route_in_tcp_mode_knows_no_http(key: str, value: Any) -> None:
    found = problems({"routes": [{"backend": "app", "facts": {"source.host": "192.0.2.1"}, key: value}]})
    assert f'frontends.web.routes[0].{key}: only in mode = "http"' in found


def test_a_route_in_tcp_mode_goes_by_facts_and_refuses_without_a_status() -> None:
    routes: list[Any] = [{"backend": "app", "facts": {"tls.sni": "a.example"}}, {"refuse": True}]
    settings: dict[str, Any] = {"routes": routes, "validators": ["x"]}
    assert problems(settings) == []
    routes[1]["refuse"] = 404
    assert problems(settings) == ['frontends.web.routes[1].refuse: a status needs mode = "http"; write true']


def test_where_no_route_names_a_host_every_host_would_be_unknown() -> None:
    settings = {"mode": "http", "reject_unknown_hosts": True, "routes": [{"backend": "app", "path": "/a"}]}
    assert problems(settings) == [
        "frontends.web.reject_unknown_hosts: no route names a host, so every host would be unknown"
    ]


# Fields


@pytest.mark.parametrize("table", ["request_headers", "response_headers"])
@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade", "TE", "Keep-Alive"])
@pytest.mark.parametrize("action", ["remove", "set", "add"])
def test_framing_and_what_belongs_to_a_connection_cannot_be_changed(table: str, name: str, action: str) -> None:
    fields = {action: [name] if action == "remove" else {name: "1"}}
    place = f"{table}.{action}" + ("" if action == "remove" else f".{name}")
    (of_frontend,) = problems({"mode": "http", table: fields})
    assert of_frontend.startswith(f"frontends.web.{place}: {name} ")
    (of_backend,) = problems({"mode": "http"}, {table: fields})
    assert of_backend.startswith(f"backends.app.{place}: {name} ")


def test_host_can_be_set_but_neither_removed_nor_doubled() -> None:
    assert problems({"mode": "http", "request_headers": {"set": {"Host": "a.example"}}}) == []
    for fields in ({"remove": ["host"]}, {"add": {"Host": "a.example"}}):
        (problem,) = problems({"mode": "http", "request_headers": fields})
        assert "a request has exactly one Host" in problem
    (problem,) = problems({"mode": "http", "request_headers": {"set": {"Host": "a b"}}})
    assert problem == 'frontends.web.request_headers.set.Host: neither HOST nor HOST:PORT: "a b"'


@pytest.mark.parametrize("fields", [{"set": {"X A": "1"}}, {"set": {"X-A": "1\r\nX-B: 2"}}, {"remove": [""]}])
def test_what_is_no_field_is_refused(fields: dict[str, Any]) -> None:
    assert problems({"mode": "http", "request_headers": fields})


def test_every_setting_of_http_is_one_of_the_models() -> None:
    assert set(_OF_FRONTENDS) <= set(model.Frontend.__struct_fields__)
    assert set(_OF_BACKENDS) <= set(model.Backend.__struct_fields__)
