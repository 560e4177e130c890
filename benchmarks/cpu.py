"""What a process and its children cost: processor time and memory, from Linux's own accounting."""

import os
import re
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User plus system time, in seconds, that ``pid`` and its children, living or waited for, have used so far."""
    ticks = sum(parse_ticks(Path(f"/proc/{member}/stat").read_text()) for member in process_tree(pid))
    return ticks / TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """User-space memory of ``pid`` and its living children; the kernel's socket buffers are not in it.

    ``smaps_rollup`` walks the pages; the counters in ``status`` may be wrong by some hundred KiB.
    """
    return sum(parse_resident(Path(f"/proc/{member}/smaps_rollup").read_text()) for member in process_tree(pid))


def process_tree(pid: int) -> list[int]:
    """``pid`` and all its living descendants."""
    members = [pid]
    for member in members:
        for task in Path(f"/proc/{member}/task").iterdir():
            members.extend(int(child) for child in (task / "children").read_text().split())
    return members


def parse_ticks(stat: str) -> int:
    """Clock ticks in a ``/proc/PID/stat``: utime, stime, cutime and cstime, all threads together (see proc(5))."""
    # The second field is the name in parentheses, which may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def parse_resident(smaps_rollup: str) -> int:
    """The resident set in a ``/proc/PID/smaps_rollup``, in bytes."""
    found = re.search(r"^Rss:\s+(\d+) kB$", smaps_rollup, re.MULTILINE)
    if found is None:
        raise ValueError("no Rss line in smaps_rollup")
    return int(found[1]) * 1024
