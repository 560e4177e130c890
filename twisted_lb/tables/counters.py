"""What a table counts, and under which names that is read.

Source: HAProxy configuration.txt, section 11.1 "stick-table", the data types.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum


class Event(IntEnum):
    """What is counted. The numbers are the order in which machines that share a table send them to each other."""

    CONNECTION = 0
    REQUEST = 1
    ERROR = 2
    """A request that was answered with 4xx, could not be read, or was refused; a connection that was refused."""
    BYTES_IN = 3
    """From the client."""
    BYTES_OUT = 4
    """To the client."""
    GPC0 = 5
    GPC1 = 6
    GPC2 = 7


class Kind(Enum):
    """What is read of the events that were counted."""

    CURRENT = "how many there are now"
    TOTAL = "how many there were since the entry exists"
    RATE = "how many there were within the table's window"


@dataclass(frozen=True, slots=True)
class Counter:
    """What one name reads."""

    name: str
    event: Event
    kind: Kind
    about: str


def _counters() -> Mapping[str, Counter]:
    found = [Counter("connections", Event.CONNECTION, Kind.CURRENT, "connections now")]
    for event in Event:
        name = event.name.lower()
        plain = event >= Event.BYTES_IN  # the total of these has no suffix
        words = {Event.BYTES_IN: "bytes from the client", Event.BYTES_OUT: "bytes to the client"}
        what = words.get(event, name if event > Event.BYTES_OUT else f"{name}s")
        found.append(Counter(name if plain else f"{name}_count", event, Kind.TOTAL, f"{what}, all so far"))
        found.append(Counter(f"{name}_rate", event, Kind.RATE, f"{what} within the window"))
    return {counter.name: counter for counter in found}


COUNTERS: Mapping[str, Counter] = _counters()
"""By the name that stands behind the table's in an expression."""

GENERAL: Mapping[str, Event] = {event.name.lower(): event for event in Event if event >= Event.GPC0}
"""The counters that only rules increment."""
