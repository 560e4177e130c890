"""Reading Linux's accounting of a process."""

import os
import subprocess
import sys

import pytest

from benchmarks.cpu import cpu_s, parse_resident, parse_ticks, process_tree, resident_bytes

STAT = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 200 0 0 {utime} {stime} {cutime} {cstime} 20 0 1 0 300 1000 50"


def test_ticks_are_user_and_system_time_children_included_whatever_the_name() -> None:
    assert parse_ticks(STAT.format(utime=1, stime=20, cutime=300, cstime=4000)) == 4321


def test_the_resident_set_is_read_in_bytes() -> None:
    text = "55-7f ---p 00000000 00:00 0  [rollup]\nRss:                1464 kB\nPss:                 300 kB\n"
    assert parse_resident(text) == 1464 * 1024
    with pytest.raises(ValueError, match="Rss"):
        parse_resident("")


def test_this_process_has_used_time_and_memory() -> None:
    used = cpu_s(os.getpid())
    assert sum(os.times()[:4]) == pytest.approx(used, abs=1)
    assert resident_bytes(os.getpid()) > 1 << 20


def test_grandchildren_belong_to_the_tree() -> None:
    grandchild = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", grandchild], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        assert len(process_tree(child.pid)) == 2
        child.communicate(b"\n")
