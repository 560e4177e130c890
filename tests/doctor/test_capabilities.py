"""Capabilities that the configuration needs, compared with those that there are."""

import pytest

from tests.doctor.fakes import config, wrong
from twisted_lb.doctor.capabilities import compare, examine
from twisted_lb.doctor.findings import Severity
from twisted_lb.net.capabilities import Capability

pytestmark = pytest.mark.linux


def test_what_is_not_there_is_missing_with_three_ways_out() -> None:
    given = config({"address": "*:8080", "transparent": True})
    (one,) = wrong(compare(given, frozenset(), None))
    assert (one.severity, one.what) == (Severity.MISSING, "CAP_NET_RAW or CAP_NET_ADMIN is not there")
    assert one.why.startswith("frontends.web.bind[0].transparent")
    for way in ("--uid", "AmbientCapabilities=CAP_NET_RAW", "setcap"):
        assert way in "\n".join(one.commands)
    assert wrong(compare(given, frozenset({Capability.NET_ADMIN}), None)) == []


def test_what_only_some_connections_need_is_advice() -> None:
    given = config(server={"address": "127.0.0.1:1", "source": "client"})
    (one,) = wrong(compare(given, frozenset({Capability.NET_RAW}), None))
    assert one.severity is Severity.ADVICE


def test_who_is_to_keep_almost_all_of_root_is_told() -> None:
    given = config({"address": "*:8080", "namespace": "blue"})
    (one,) = wrong(compare(given, frozenset({Capability.SYS_ADMIN}), "nobody"))
    assert "not far from being root" in one.what


def test_a_user_that_does_not_exist_is_missing() -> None:
    (one,) = examine(config(), "no-such-user")
    assert one.commands == ("useradd --system --shell /usr/sbin/nologin no-such-user",)
