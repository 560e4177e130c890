"""Entries of ``validators`` say one thing each, and what could never have an effect is an error."""

import re
from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError


def problems(**frontend: Any) -> list[str]:
    config = {
        "frontends": {"web": {"bind": "127.0.0.1:80", "backend": "app", **frontend}},
        "backends": {"app": {"servers": {"a": "127.0.0.1:81"}}},
    }
    try:
        load_dict(config, "lb.toml")
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: frontends.web.") for problem in error.problems]
    return []


SEVERAL: list[Any] = ["tls", {"use": "payload", "starts_with": "x"}]


@pytest.mark.parametrize(
    ("frontend", "problem"),
    [
        ({"validators": [{}]}, r"validators\[0\]: what is it\? it takes one of \"use\", \"any_of\""),
        ({"validators": [{"anyof": SEVERAL}]}, r"validators\[0\].anyof: unknown key; did you mean \"any_of\"\?"),
        ({"validators": [{"any_of": []}]}, r"validators\[0\].any_of: is empty"),
        ({"validators": [{"any_of": "tls"}]}, r"validators\[0\].any_of: expected a list"),
        ({"validators": ["tls", {"any_of": ["tls"]}]}, r"validators\[1\].any_of: takes two validators at least"),
        ({"validators": [{"any_of": [{}, "tls"]}]}, r"validators\[0\].any_of\[0\].use: is missing"),
        (
            {"validators": [{"any_of": [{"any_of": SEVERAL}, "tls"]}]},
            r"validators\[0\].any_of\[0\].use: is missing; an any_of cannot stand here, within another entry",
        ),
        (
            {"validators": [{"any_of": SEVERAL, "require_sni": True}]},
            r"validators\[0\].require_sni: unknown key",
        ),
        ({"mode": "http", "validators": [{"any_of": SEVERAL}]}, r'validators\[0\].any_of: only in mode = "tcp"'),
        ({"inspect_expired": "pass"}, "inspect_expired: there are no validators"),
        ({"inspect_expired": "pass", "mode": "http", "validators": ["tls"]}, 'inspect_expired: only in mode = "tcp"'),
        ({"inspect_expired": "allow", "validators": ["tls"]}, 'inspect_expired: "allow" is not possible here'),
    ],
)
def test_what_makes_no_sense_is_told(frontend: dict[str, Any], problem: str) -> None:
    (told,) = problems(**frontend)
    assert re.match(problem, told)


@pytest.mark.parametrize(
    "frontend",
    [
        {"validators": ["tls", {"any_of": SEVERAL}]},
        {"validators": ["tls"], "inspect_expired": "pass"},
        {"validators": [{"any_of": SEVERAL}], "inspect_expired": "refuse", "timeouts": {"tarpit": "3s"}},
    ],
)
def test_what_makes_sense_is_let_pass(frontend: dict[str, Any]) -> None:
    assert problems(**frontend) == []
