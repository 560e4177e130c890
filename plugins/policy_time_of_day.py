"""``use = "time_of_day"``: allow or deny by the day of the week and the time of the day, in a time zone."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import ALLOW, ConfigError, Deny, Facts, IPolicy, Options, Runtime, Stage, Supply, Verdict, hookimpl

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)

_MOMENT = r"([01][0-9]|2[0-3]):[0-5][0-9]"
TimeRange = Annotated[
    str,
    Meta(
        pattern=rf"^{_MOMENT}-({_MOMENT}|24:00)(?![\s\S])",
        extra={"expected": 'a range of times such as "09:00-17:30"'},
    ),
]


class TimeOfDayOptions(Options, frozen=True):
    """``times``: from the first minute up to, but without, the second; one that ends before it begins goes on past
    midnight, and belongs to the day on which it begins. ``inside``: what holds then; otherwise the opposite.
    """

    days: list[Day] = msgspec.field(default_factory=lambda: list(DAYS))
    times: list[TimeRange] = msgspec.field(default_factory=lambda: ["00:00-24:00"])
    timezone: str = "UTC"
    inside: Literal["allow", "deny"] = "allow"


@implementer(IPolicy)
class TimeOfDay:
    """``days``: 0 for Monday. ``ranges``: minutes since midnight.

    It goes by what the clock on the wall shows: the hour that is skipped in spring never is, and the one that is
    repeated in autumn is twice.
    """

    stage = Stage.ADMISSION

    def __init__(
        self,
        runtime: Runtime,
        zone: ZoneInfo,
        days: frozenset[int],
        ranges: Sequence[tuple[int, int]],
        inside: Literal["allow", "deny"],
    ) -> None:
        self._wall_clock = runtime.wall_clock
        self._zone = zone
        self._days = days
        self._ranges = ranges
        deny = Deny("not at this time of day")
        self._inside: Verdict = ALLOW if inside == "allow" else deny
        self._outside: Verdict = deny if inside == "allow" else ALLOW

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; a few microseconds."""
        now = datetime.fromtimestamp(self._wall_clock(), self._zone)
        today, minute = now.weekday(), now.hour * 60 + now.minute
        return self._inside if self._is_inside(today, minute) else self._outside

    def is_always(self) -> bool:
        """Whether every minute of the week is meant."""
        return all(self._is_inside(day, minute) for day in range(7) for minute in range(24 * 60))

    def _is_inside(self, today: int, minute: int) -> bool:
        begins_today, began_yesterday = today in self._days, (today - 1) % 7 in self._days
        for begin, end in self._ranges:
            if begin < end:
                if begins_today and begin <= minute < end:
                    return True
            elif (begins_today and minute >= begin) or (began_yesterday and minute < end):
                return True
        return False


def build(options: TimeOfDayOptions, runtime: Runtime) -> TimeOfDay:
    """Build the policy.

    Raises: ConfigError for a time zone that this machine does not know, for empty lists, for empty ranges, and for
        what is all the time.
    """
    problems = [
        f"{name}: is empty; at least one entry is needed" for name in ("days", "times") if not getattr(options, name)
    ]
    ranges = []
    for one in options.times:
        begin, _, end = one.partition("-")
        if begin == end:
            problems.append(f'times: "{one}" is empty; the whole day is "00:00-24:00"')
        ranges.append((_minutes(begin), _minutes(end)))
    try:
        zone = ZoneInfo(options.timezone)
    except (OSError, ValueError, LookupError):
        hint = "such as Europe/Berlin; the system's package tzdata has them, and so has the Python package tzdata"
        problems.append(f'timezone: this machine knows no time zone "{options.timezone}" ({hint})')
    if problems:
        raise ConfigError(*problems)
    days = frozenset(DAYS.index(day) for day in options.days)
    made = TimeOfDay(runtime, zone, days, ranges, options.inside)
    if made.is_always():
        same = {"allow": "it would let everybody on", "deny": "it would deny everybody"}[options.inside]
        if options == TimeOfDayOptions(timezone=options.timezone, inside=options.inside):
            raise ConfigError(f'it needs "days", "times" or both: this is all the time, so that {same}')
        raise ConfigError(f"times: with days this is all the time, so that {same}")
    return made


def _minutes(moment: str) -> int:
    hour, _, minute = moment.partition(":")
    return int(hour) * 60 + int(minute)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``time_of_day``."""
    return {"time_of_day": Supply(build, TimeOfDayOptions, runtime=True)}
