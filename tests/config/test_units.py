"""Durations and sizes: every unit, and every way to get one wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.config.units import Duration, Size, parse_duration, parse_size, spell_duration, spell_size
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


@pytest.mark.parametrize(
    ("text", "size", "spelt"),
    [
        ("0B", 0, "0B"),
        ("512B", 512, "512B"),
        ("4KiB", 4096, "4KiB"),
        ("4096B", 4096, "4KiB"),
        ("1MiB", 1048576, "1MiB"),
        ("65551B", 65551, "65551B"),
    ],
)
def test_a_whole_number_with_a_unit_becomes_bytes(text: str, size: int, spelt: str) -> None:
    assert parse_size(text) == size
    assert isinstance(parse_size(text), Size)
    assert spell_size(size) == spelt


@pytest.mark.parametrize(("value", "shown"), [(4096, "4096"), ("4096", "4096")])
def test_a_bare_number_of_bytes_is_told_to_add_a_unit(value: object, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf'^{shown} has no unit: write "{shown}B"$'):
        parse_size(value)


def test_more_digits_than_any_machine_has_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match="too much"):
        parse_size("9" * 5000 + "B")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "B",
        "-1B",
        "1 B",
        "1.5KiB",
        "4K",
        "4KB",
        "4kib",
        "1GiB",
        "٣B",
        "1B\n",
        "off",
        True,
        None,
        [],
        -3,
        1.5,
        pytest.param(10**5000, id="huge"),
    ],
)
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(ConfigError, match="expected a whole number and a unit"):
        parse_size(value)


@given(st.integers(0, 999_999_999_999))
def test_a_size_that_is_spelt_is_read_back(size: int) -> None:
    assert parse_size(spell_size(size)) == size
