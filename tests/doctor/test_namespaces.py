"""Namespaces that the configuration names exist."""

from pathlib import Path

from tests.doctor.fakes import config, machine, wrong
from twisted_lb.doctor.namespaces import examine


def test_a_missing_one_is_named_with_its_key_and_the_command(tmp_path: Path) -> None:
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "run/netns/blue").touch()
    given = config({"address": "*:80", "namespace": "blue"}, {"address": "127.0.0.1:1", "namespace": "red"})
    (one,) = wrong(examine(given, machine(tmp_path)))
    assert (one.why, one.commands) == ("backends.app.servers.a.namespace", ("ip netns add red",))
