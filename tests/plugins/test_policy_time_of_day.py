"""``time_of_day`` goes by the clock on the wall of a time zone."""

from datetime import UTC, datetime
from typing import Any
from unittest import TestCase
from zoneinfo import ZoneInfo

import pytest

from twisted_lb.api import ALLOW, ConfigError, Deny, IPolicy, Stage
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import PolicyContract, make_facts, make_runtime
from twisted_lb_plugins.policy_time_of_day import TimeOfDayOptions, build


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    def make_policy(self) -> IPolicy:
        return build(TimeOfDayOptions(times=["09:00-17:00"]), make_runtime())


def allowed(moment: str, **options: Any) -> bool:
    """Whether a client may come in at a moment, ISO 8601, in UTC if it says nothing else."""
    now = datetime.fromisoformat(moment)
    seconds = (now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp()
    policy = build(TimeOfDayOptions(**options), make_runtime(wall_clock=lambda: seconds))
    verdict = policy.decide(make_facts())
    assert verdict is ALLOW or verdict == Deny("not at this time of day")
    return verdict is ALLOW


# 2026-11-23 is a Monday.


def test_it_is_asked_before_a_byte_is_read() -> None:
    assert build(TimeOfDayOptions(days=["mon"]), make_runtime()).stage is Stage.ADMISSION


@pytest.mark.parametrize(
    ("time", "expected"),
    [("08:59:59", False), ("09:00:00", True), ("16:59:59.999", True), ("17:00:00", False), ("00:00:00", False)],
)
def test_a_range_begins_with_its_first_minute_and_ends_before_its_last(time: str, expected: bool) -> None:
    assert allowed(f"2026-11-23T{time}", times=["09:00-17:00"]) is expected


def test_there_may_be_several_ranges() -> None:
    times = ["09:00-12:00", "13:00-17:00"]
    assert [allowed(f"2026-11-23T{hour}:30", times=times) for hour in (11, 12, 13)] == [True, False, True]


def test_the_whole_day_has_an_end() -> None:
    assert allowed("2026-11-23T23:59:59", days=["mon"], times=["00:00-24:00"])
    assert allowed("2026-11-23T00:00:00", days=["mon"], times=["00:00-24:00"])
    assert not allowed("2026-11-24T00:00:00", days=["mon"])


def test_days_are_those_of_the_zone() -> None:
    # Monday, 23:30 in London is Tuesday in Berlin.
    assert allowed("2026-11-23T23:30", days=["mon"])
    assert not allowed("2026-11-23T23:30", days=["mon"], timezone="Europe/Berlin")
    assert allowed("2026-11-23T23:30", days=["tue"], timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27T21:59", False),
        ("2026-11-27T22:00", True),
        ("2026-11-28T05:59", True),  # Saturday morning belongs to Friday's night
        ("2026-11-28T06:00", False),
        ("2026-11-28T22:00", False),
        ("2026-11-27T05:00", False),  # Friday morning belongs to Thursday's
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment: str, expected: bool) -> None:
    assert allowed(moment, days=["fri"], times=["22:00-06:00"]) is expected


def test_the_night_from_sunday_to_monday() -> None:
    assert allowed("2026-11-23T01:00", days=["sun"], times=["22:00-06:00"])


def test_it_can_say_when_it_is_closed() -> None:
    options = {"days": ["sun"], "times": ["03:00-05:00"], "inside": "deny"}
    assert not allowed("2026-11-22T04:00", **options)
    assert allowed("2026-11-22T05:00", **options)
    assert allowed("2026-11-23T04:00", **options)


def test_in_summer_the_clock_shows_another_time() -> None:
    options = {"times": ["09:00-10:00"], "timezone": "Europe/Berlin"}
    assert allowed("2026-01-15T08:30", **options)
    assert not allowed("2026-07-15T08:30", **options)
    assert allowed("2026-07-15T07:30", **options)


def test_the_hour_that_is_skipped_never_is() -> None:
    # On 2026-03-29 at 02:00 the clocks of Berlin go to 03:00; that is 01:00 UTC.
    day = {"timezone": "Europe/Berlin", "days": ["sun"]}
    skipped = [
        allowed(f"2026-03-29T{hour:02}:{minute:02}", times=["02:00-03:00"], **day)
        for hour in range(24)
        for minute in (0, 30)
    ]
    assert not any(skipped)
    assert allowed("2026-03-29T00:59", times=["01:00-02:00"], **day)
    assert allowed("2026-03-29T01:00", times=["03:00-04:00"], **day)


def test_the_hour_that_is_repeated_is_twice() -> None:
    # On 2026-10-25 at 03:00 the clocks of Berlin go back to 02:00; that is 01:00 UTC.
    zone = ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold).astimezone(UTC)
        assert allowed(moment.isoformat(), times=["02:00-03:00"], timezone="Europe/Berlin")
    assert allowed("2026-10-25T00:30", times=["02:00-03:00"], timezone="Europe/Berlin")
    assert allowed("2026-10-25T01:30", times=["02:00-03:00"], timezone="Europe/Berlin")
    assert not allowed("2026-10-25T02:00", times=["02:00-03:00"], timezone="Europe/Berlin")


def test_time_goes_on() -> None:
    now = [datetime(2026, 11, 23, 8, 59, 59, tzinfo=UTC).timestamp()]
    policy = build(TimeOfDayOptions(times=["09:00-10:00"]), make_runtime(wall_clock=lambda: now[0]))
    assert policy.decide(make_facts()) is not ALLOW
    now[0] += 1
    assert policy.decide(make_facts()) is ALLOW


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timezone": "Europe/Atlantis"}, 'timezone: this machine knows no time zone "Europe/Atlantis"'),
        ({"timezone": "../../etc/passwd"}, "timezone: "),
        ({"timezone": ""}, "timezone: "),
        ({"timezone": "Europe"}, "timezone: "),
        ({"days": []}, "days: is empty"),
        ({"times": []}, "times: is empty"),
        ({"times": ["08:00-08:00"]}, 'times: "08:00-08:00" is empty'),
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(TimeOfDayOptions(**options), make_runtime())
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"times": ["9-17"]}, 'policies[0].times[0]: expected a range of times such as "09:00-17:30", got "9-17"'),
        ({"times": ["24:00-01:00"]}, "policies[0].times[0]: expected a range of times"),
        ({"days": ["monday"]}, 'policies[0].days[0]: "monday" is not possible here'),
    ],
)
def test_what_is_no_time_or_day_is_told_with_its_place(options: dict[str, Any], told: str) -> None:
    host = load_plugins(runtime=make_runtime())
    with pytest.raises(ConfigError) as caught:
        host.build("policies", Use(use="time_of_day", options=options), "policies[0]")
    assert str(caught.value).startswith(told)
