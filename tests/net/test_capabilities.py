"""Capabilities: what is said of this thread is what the kernel says; what is given up is gone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from twisted_lb.net import capabilities
from twisted_lb.net.capabilities import Capability

pytestmark = pytest.mark.linux

GIVE_UP = """
import os
from twisted_lb.net import capabilities
from twisted_lb.net.capabilities import Capability
capabilities.keep_across_setuid(True)
os.setuid(65534)
capabilities.reduce_to([Capability.NET_RAW])
print(open("/proc/self/status").read(), flush=True)
os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""


def masks(status: str) -> list[dict[str, int]]:
    """The five sets of each ``/proc/PID/status`` in a text."""
    found = [(name, int(mask, 16)) for name, mask in re.findall(r"^Cap(\w+):\s+(\w+)$", status, re.MULTILINE)]
    return [dict(found[place : place + 5]) for place in range(0, len(found), 5)]


def test_a_capability_is_spelt_as_in_the_manual() -> None:
    assert (str(Capability.NET_RAW), int(Capability.NET_RAW)) == ("CAP_NET_RAW", 13)
    assert [int(one) for one in Capability] == list(range(41))


def test_the_sets_are_those_that_the_kernel_shows() -> None:
    (shown,) = masks(Path("/proc/thread-self/status").read_text())
    every = sum(1 << one for one in Capability)
    for name, read in (
        ("Eff", capabilities.effective),
        ("Prm", capabilities.permitted),
        ("Bnd", capabilities.bounding),
    ):
        assert sum(1 << one for one in read()) == shown[name] & every


@pytest.mark.root
def test_all_but_the_chosen_is_given_up_and_programs_that_are_executed_have_none() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    done = subprocess.run(
        [sys.executable, "-c", GIVE_UP], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    before, after = masks(done.stdout)
    raw = 1 << Capability.NET_RAW
    assert before == {"Inh": 0, "Prm": raw, "Eff": raw, "Bnd": 0, "Amb": 0}
    assert after == dict.fromkeys(before, 0)
