"""Durations: every unit, and every way to get one wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.config.units import Duration, parse_duration, spell_duration
from twisted_lb.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7us", 0.000007),
        ("35ms", 0.035),
        ("1.5s", 1.5),
        ("0s", 0),
        ("2m", 120),
        ("3h", 10800),
        ("24d", 2073600),
        ("2147483647ms", 2147483.647),
    ],
)
def test_a_number_with_a_unit_becomes_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("value", "shown"), [(30, "30"), (1.5, "1.5"), ("30", "30")])
def test_a_bare_number_is_told_to_add_a_unit(value: object, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf'^{shown} has no unit: write "{shown}s"$'):
        parse_duration(value)


def test_more_than_haproxys_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long"):
        parse_duration("2147483648ms")
    with pytest.raises(ConfigError, match="too long"):
        parse_duration("9" * 5000 + "d")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "s",
        "-1s",
        "1 s",
        "1e3s",
        "1S",
        "1w",
        "٣s",
        "1s\n",
        "off",
        True,
        None,
        [],
        -3,
        float("nan"),
        pytest.param(10**5000, id="huge"),
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="expected a number and a unit"):
        parse_duration(value)


@given(st.integers(0, 2147483647))
def test_what_is_spelt_is_read_back(microseconds: int) -> None:
    duration = parse_duration(f"{microseconds}us")
    assert isinstance(duration, Duration)
    assert parse_duration(spell_duration(duration)) == duration
