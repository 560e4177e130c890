"""A plugin for tests: counts what sessions begin and end, and on SIGUSR2 writes down what the process has.

The cyclic garbage collector is off from here on, so that whatever only a collection could free is found in the count.
"""

import contextlib
import gc
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from zope.interface import implementer

from twisted_lb.api import (
    Facts,
    HttpRecord,
    IObserver,
    IServer,
    Options,
    RefusedMessage,
    SessionRecord,
    Supply,
    hookimpl,
)
from twisted_lb.process import Process

gc.disable()

told: Counter[str] = Counter()


class WitnessOptions(Options, frozen=True):
    """``path``: the file that the inventory is written to."""

    path: str


@implementer(IObserver)
class Witness:
    """Counts."""

    def session_opened(self, facts: Facts) -> None:
        """Count it."""
        told["opened"] += 1

    def session_routed(self, facts: Facts, backend: str, server: IServer) -> None:
        """Count it."""
        told["routed"] += 1

    def session_closed(self, facts: Facts, record: SessionRecord) -> None:
        """Count it."""
        told["closed"] += 1

    def request_closed(self, facts: Facts, record: HttpRecord) -> None:
        """Count it."""
        told["requests"] += 1

    def message_refused(self, facts: Facts, message: RefusedMessage) -> None:
        """Count it."""
        told["refused"] += 1

    def server_state_changed(self, backend: str, server: IServer, state: str, reason: str) -> None:
        """Count it."""
        told[state] += 1


def inventory() -> dict[str, Any]:
    """List what the process has: ``alive`` are the package's objects by type, reachable or not."""
    gc.unfreeze()
    objects = gc.get_objects()
    alive = Counter(type(one).__qualname__ for one in objects if str(type(one).__module__).startswith("twisted_lb"))
    [process] = [one for one in objects if type(one) is Process]
    poller = process.poller
    assert poller is not None
    return {
        "told": dict(told),
        "alive": dict(alive),
        "sessions": len(process.sessions),
        "connections": process.limit.count,
        "armed": len(process.wheel),
        "watched": len(poller),
        "waiting for a turn": len(poller.ready),
        "set aside": poller.aside,
        "plugin failures": dict(process.plugin_failures),
        "descriptors": sorted(descriptors()),
    }


def descriptors() -> Iterator[str]:
    """Say what each open descriptor is."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that the folder was read with
            yield os.readlink(f"/proc/self/fd/{fd}")


def build(options: WitnessOptions) -> Witness:
    """Build the observer, and write to its ``path`` from now on."""

    def write(*_: object) -> None:
        beside = options.path + ".tmp"
        with open(beside, "w") as file:
            json.dump(inventory(), file)
        os.rename(beside, options.path)

    signal.signal(signal.SIGUSR2, write)
    return Witness()


@hookimpl
def lb_observers() -> Mapping[str, Supply[IObserver]]:
    """Supply ``witness``."""
    return {"witness": Supply(build, WitnessOptions)}
