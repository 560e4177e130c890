"""The text of a limit."""

import pytest

from twisted_lb.counting.limit import parse_limit
from twisted_lb.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("connections per source > 20 in 10s", ("connection_rate", "source", 20, 10.0)),
        ("  connections   per  source  >  20  in  10s ", ("connection_rate", "source", 20, 10.0)),
        ("connections per source >= 20 in 10s", ("connection_rate", "source", 19, 10.0)),
        ("connections per source/24/64 > 20", ("connections", "source/24/64", 20, None)),
        ("requests per http.headers['x-user'] > 5 in 1m", ("request_rate", "http.headers['x-user']", 5, 60.0)),
        ("errors per tls.sni>0 in 500ms", ("error_rate", "tls.sni", 0, 0.5)),
        ("bytes_in per source > 10MiB in 1s", ("bytes_in_rate", "source", 10 * 1024 * 1024, 1.0)),
        ("bytes_out per source > 1000 in 1s", ("bytes_out_rate", "source", 1000, 1.0)),
        ("connections per source > 99999999999999999999999 in 1s", ("connection_rate", "source", 10**18, 1.0)),
    ],
)
def test_a_limit_is_understood(text: str, found: tuple[str, str, int, float | None]) -> None:
    limit = parse_limit(text)
    assert (limit.counter.name, limit.key, limit.most, limit.window_s) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected MEASURE per KEY > NUMBER in TIME"),
        ("connections > 20", "expected MEASURE per KEY > NUMBER in TIME"),
        ("connections per source < 20 in 10s", "expected MEASURE per KEY > NUMBER in TIME"),
        ("connects per source > 20 in 10s", '"connects" cannot be limited; possible: connections, requests'),
        ("requests per source > 20", "requests are limited within a time"),
        ("connections per source > 20 in 10", "unit"),
        ("connections per source > 20 in 50ms", "100ms at least"),
        ("connections per source > twenty in 10s", '"twenty" is no whole number'),
        ("connections per source > 20KiB in 10s", '"20KiB" is no whole number'),
        ("bytes_in per source > 20KB in 10s", "unit"),
        ("connections per source >= 0", "that lets nobody on"),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_limit(text)


def test_a_long_text_takes_no_long_time() -> None:
    with pytest.raises(ConfigError):
        parse_limit("connections per " + "x " * 5000 + "<")
