"""Congestion controls that the configuration names are loaded."""

from pathlib import Path

from tests.doctor.fakes import config, machine, wrong
from twisted_lb.doctor.congestion import examine


def test_one_that_is_not_loaded_is_named_with_the_command(tmp_path: Path) -> None:
    given = config(
        {"address": "*:80", "tcp": {"congestion": "vegas"}}, {"address": "a:1", "tcp": {"congestion": "bbr"}}
    )
    (one,) = wrong(examine(given, machine(tmp_path)))
    assert (one.why, one.commands) == ("frontends.web.bind[0].tcp.congestion", ("modprobe tcp_vegas",))
    assert "reno, cubic, bbr" in one.what
