"""Descriptors are enough for ``process.maxconn``."""

from pathlib import Path

from tests.doctor.fakes import config, machine, wrong
from twisted_lb.config.load import load_dict
from twisted_lb.doctor.descriptors import examine, needed


def test_all_that_takes_one_is_counted() -> None:
    given = config("127.0.0.1:7000-7009", {"address": "127.0.0.1:1", "check": True}, process={"maxconn": 100})
    assert needed(given) == 2 * 100 + 10 + 1 + 64


def test_a_limit_that_is_too_low_is_said_with_the_one_that_is_needed(tmp_path: Path) -> None:
    given = config(process={"maxconn": 1000})
    assert wrong(examine(given, machine(tmp_path), 10_000)) == []
    (one,) = wrong(examine(given, machine(tmp_path), 1024))
    assert (one.why, one.commands[0].split("#")[0].strip()) == ("process.maxconn = 1000", "ulimit -n 2065")
    (one,) = wrong(examine(given, machine(tmp_path, {"fs.nr_open": "2000"}), 10_000))
    assert one.commands == ("sysctl -w fs.nr_open=2065",)


def test_connections_whose_bodies_may_be_held_in_files_take_three() -> None:
    web = {"bind": "127.0.0.1:1", "backend": "app", "mode": "http", "buffer_request": True}
    backends = {"app": {"servers": {"a": "127.0.0.1:2"}}}
    given = load_dict({"process": {"maxconn": 100}, "frontends": {"web": web}, "backends": backends}, "x")
    assert needed(given) == 3 * 100 + 1 + 64 + 100
