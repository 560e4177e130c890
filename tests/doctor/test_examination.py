"""All subjects together."""

from pathlib import Path

from tests.doctor.fakes import config, machine
from twisted_lb.doctor.examination import examine, is_fit


def test_every_subject_is_looked_at_and_one_missing_thing_is_enough(tmp_path: Path) -> None:
    found = examine(config(), "x", None, machine(tmp_path))
    assert list(found) == ["capabilities", "namespaces", "sysctls", "congestion", "descriptors", "routing"]
    assert is_fit(found)
    assert not is_fit(examine(config("192.0.2.1:8080"), "x", None, machine(tmp_path)))
