"""Options of the bundled plugins that would have no effect, or contradict each other, are errors at the start."""

from typing import Any

import pytest

from twisted_lb.config.uses import Use
from twisted_lb.errors import ConfigError
from twisted_lb.plugin_host import KindName, load_plugins
from twisted_lb.testing import make_runtime

URL = {"url": "http://127.0.0.1:9090/"}
CASES: list[tuple[KindName, str, dict[str, Any], str]] = [
    ("policies", "answer", {"headers": {"X Y": "1"}}, 'headers."X Y": expected the name of an HTTP field'),
    ("policies", "answer", {"headers": {"X": "a\r\nb"}}, "headers.X: expected the value of an HTTP field"),
    ("policies", "answer", {"headers": {"content-length": "1"}}, "headers: content-length is written by the proxy"),
    ("policies", "answer", {"status": 204, "body": "x"}, "body: an answer with status 204 has none"),
    ("policies", "answer", {"content_type": "text/html"}, "content_type: there is no body: give one"),
    ("policies", "answer", {"path": ["x"]}, 'path: a path begins with a slash: "x"'),
    ("policies", "answer", {"path": ["/a?b"]}, 'path: a path ends before its query, so none is ever this: "/a?b"'),
    ("policies", "answer", {"path_prefix": ["/a%20b"]}, 'path_prefix: paths are compared decoded: write "/a b"'),
    ("policies", "answer", {"path": ["/a/../b"]}, 'path: can be read in several ways: "/a/../b"'),
    ("policies", "answer", {"path": ["/a/b"], "path_prefix": ["/a/"]}, 'path: "/a/b" is among path_prefix already'),
    ("policies", "redirect", {"host": "x", "except": ["/"]}, 'except: with "/" nobody is ever redirected'),
    ("policies", "redirect", {"host": "x", "except": ["/%61"]}, 'except: paths are compared decoded: write "/a"'),
    (
        "policies",
        "source",
        {"allow": ["10.1.0.0/16", "192.0.2.1"], "deny": ["10.0.0.0/8"]},
        'allow: "10.1.0.0/16" is within "10.0.0.0/8" of deny, which wins, so it is never allowed',
    ),
    ("policies", "source", {"allow": ["::ffff:10.0.0.1"], "deny": ["10.0.0.1"]}, 'allow: "::ffff:10.0.0.1" is within'),
    ("policies", "source", {"allow": ["unix"], "deny": ["unix"]}, 'allow: "unix" is within "unix" of deny'),
    ("policies", "time_of_day", {}, 'it needs "days", "times" or both: this is all the time'),
    ("policies", "time_of_day", {"inside": "deny"}, 'it needs "days", "times" or both: this is all the time'),
    ("policies", "time_of_day", {"times": ["22:00-06:00", "06:00-22:00"]}, "times: with days this is all the time"),
    ("policies", "bandwidth", {"in": "1MiB", "keys": 5}, 'keys: only beside "per"'),
    ("policies", "bandwidth", {"in": "1MiB", "per": "connection", "keys": 5}, 'keys: only beside "per"'),
    ("policies", "geoip", {"databases": "/x", "unknown": "deny"}, "unknown: there is no list that it would be for"),
    (
        "policies",
        "geoip",
        {"databases": "/x", "as_numbers": [1, 5], "deny_as_numbers": [5]},
        "as_numbers: 5 is in deny_as_numbers too, which wins, so it is never allowed",
    ),
    ("policies", "geoip", {"databases": ["/x", "/x"]}, "databases: /x is there twice"),
    ("policies", "dnsbl", {"zones": ["a.b", "A.b."]}, 'zones: "a.b" is there twice'),
    ("policies", "dnsbl", {"zones": ["a.b"], "return_codes": []}, "return_codes: is empty, so that nobody is listed"),
    (
        "policies",
        "dnsbl",
        {"zones": ["a.b"], "return_codes": ["10.0.0.1"]},
        'return_codes: "10.0.0.1" is not within 127.0.0.0/8, and any other answer is a failure',
    ),
    (
        "policies",
        "dnsbl",
        {"zones": ["a.b"], "return_codes": ["127.0.0.2"], "failure_codes": ["127.0.0.0/24"]},
        'return_codes: "127.0.0.2" is within "127.0.0.0/24" of failure_codes, which wins',
    ),
    ("policies", "peer_credentials", {"users": ["root"], "deny_users": [0]}, 'users: "root" is in deny_users too'),
    ("policies", "peer_credentials", {"groups": [0], "deny_groups": ["root"]}, "groups: 0 is in deny_groups too"),
    ("policies", "http_authorizer", {**URL, "cache_key": ["source"]}, 'cache_key: only with a "cache_ttl"'),
    ("policies", "http_authorizer", {**URL, "cache_size": 5}, 'cache_size: only with a "cache_ttl"'),
    ("policies", "http_authorizer", {**URL, "cache_ttl": "5s", "cache_key": []}, "cache_key: is empty, so that all"),
    ("validators", "dns", {"opcodes": []}, "opcodes: is empty, so that nobody may ask anything"),
    ("validators", "payload", {"starts_with": ""}, "starts_with: it must look for 1 to 4096 bytes, not for 0"),
    ("validators", "payload", {"starts_with": "a", "within_bytes": 3}, 'within_bytes: only beside "matches"'),
    ("validators", "payload", {"matches": "a", "max_skip_bytes": 3}, 'max_skip_bytes: only beside "starts_with"'),
    ("validators", "payload", {"matches": ".*"}, "matches: this finds nothing everywhere"),
    ("validators", "payload", {"matches": "("}, "matches: "),
    ("validators", "payload", {"starts_with": "a", "protocol": ""}, "protocol: is empty"),
    (
        "validators",
        "postgresql",
        {"allowed_users": ["a"], "accept_invalid": True},
        'accept_invalid: not beside "allowed_users": what breaks a rule would pass, whoever the user is',
    ),
    (
        "validators",
        "postgresql",
        {"require_ssl": True, "accept_invalid": True},
        'accept_invalid: not beside "require_ssl": what breaks a rule would pass without encryption',
    ),
    ("validators", "mysql", {"require_ssl": True, "accept_invalid": True}, 'accept_invalid: not beside "require_ssl"'),
    ("validators", "rdp", {"require_tls": True, "accept_invalid": True}, 'accept_invalid: not beside "require_tls"'),
    (
        "validators",
        "redis_commands",
        {"allow": ["get", "SET"], "deny": ["GET"]},
        'allow: "get" is in deny too, which wins, so it is never allowed',
    ),
    (
        "validators",
        "redis_commands",
        {"allow": ["CONFIG SET"], "deny": ["CONFIG"]},
        'allow: "CONFIG SET" is in deny too, which wins, so it is never allowed',
    ),
    ("validators", "smtp_commands", {"allow": ["ehlo"], "deny": ["EHLO"]}, 'allow: "EHLO" is in deny too, which wins'),
    ("body_filters", "replace", {"old": "a", "new": "a"}, 'new: is the same as "old"'),
    ("body_filters", "replace", {"old": "a", "new": "b", "types": ["html"]}, 'types: "html" is no media type'),
    (
        "body_filters",
        "replace",
        {"old": "a", "new": "b", "types": ["text/html; charset=utf-8"]},
        'types: "text/html; charset=utf-8" is no media type such as "text/html"; parameters do not matter',
    ),
    ("table_stores", "redis", {"username": "x"}, 'username: only beside a "password"'),
]


@pytest.mark.parametrize(("kind", "name", "options", "problem"), CASES, ids=lambda one: str(one)[:60])
def test_it_is_told_at_the_option(kind: KindName, name: str, options: dict[str, Any], problem: str) -> None:
    if name == "dnsbl":
        options = {"resolvers": "127.0.0.1", **options}
    with pytest.raises(ConfigError) as caught:
        load_plugins(runtime=make_runtime()).build(kind, Use(use=name, options=options), "x")
    told = [one.removeprefix("x.").removeprefix("x: ") for one in caught.value.problems]
    plain = [one.replace(f'plugin "{_plugin(kind, name)}": ', "") for one in told]
    assert any(one.startswith(problem) for one in plain), plain


def _plugin(kind: KindName, name: str) -> str:
    return load_plugins().supplies(kind)[name].plugin


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (
            "policies",
            "answer",
            {"path": ["/a", "/a b"], "path_prefix": ["/b", "/"], "body": "x", "content_type": "a/b"},
        ),
        ("policies", "answer", {"status": 503, "headers": {"Retry-After": "60"}}),
        ("policies", "redirect", {"host": "x", "except": ["/.well-known"]}),
        ("policies", "source", {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}),
        ("policies", "source", {"allow": []}),  # whoever took the last one off a list means nobody
        ("validators", "redis_commands", {"allow": []}),
        ("policies", "time_of_day", {"days": ["mon"]}),
        ("policies", "time_of_day", {"times": ["00:00-23:59"]}),
        ("policies", "bandwidth", {"in": "1MiB", "per": "source", "keys": 5}),
        ("policies", "peer_credentials", {"users": ["root"], "deny_groups": ["root"]}),
        ("policies", "http_authorizer", {**URL, "cache_ttl": "1s", "cache_key": ["source"], "cache_size": 5}),
        ("validators", "redis_commands", {"allow": ["CONFIG"], "deny": ["CONFIG SET"]}),
        ("validators", "smtp_commands", {"allow": ["EHLO", "MAIL"], "deny": ["VRFY"]}),
        ("body_filters", "replace", {"old": "a", "new": "", "types": []}),
    ],
    ids=lambda one: str(one)[:60],
)
def test_what_has_an_effect_is_taken(kind: KindName, name: str, options: dict[str, Any]) -> None:
    assert load_plugins(runtime=make_runtime()).build(kind, Use(use=name, options=options), "x").object


def test_all_that_is_wrong_with_one_plugin_s_options_is_told() -> None:
    options = {"path": ["x", "/y?"], "path_prefix": ["z"], "status": 204, "body": "b"}
    with pytest.raises(ConfigError) as caught:
        load_plugins(runtime=make_runtime()).build("policies", Use(use="answer", options=options), "x")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "x.path",
        "x.path",
        "x.path_prefix",
        "x.body",
    ]
