"""Findings."""

from twisted_lb.doctor.findings import Severity, advice, missing, ok


def test_each_kind_has_its_severity() -> None:
    assert [one.severity for one in (ok("a", "b"), missing("a", "b", "c"), advice("a", "b"))] == list(Severity)
    assert missing("a", "b", "c", "d").commands == ("c", "d")
