"""What the tests build is gone afterwards, whatever happens meanwhile."""

import os
import subprocess

import pytest

from tests.namespaces.netns import FOLDER, Namespace, remove_abandoned
from tests.namespaces.topology import Network

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]


def ours() -> set[str]:
    return {path.name for path in FOLDER.glob(f"lbt{os.getpid()}-*")}


def test_a_topology_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: Network) -> None:
        assert len(ours() - before) == 4
        raise RuntimeError("half way")

    before = ours()
    monkeypatch.setattr(Network, "_build", fail)
    with pytest.raises(RuntimeError, match="half way"):
        Network()
    assert ours() == before


def test_a_command_that_fails_says_why(network: Network) -> None:
    with pytest.raises(AssertionError, match="nosuch"):
        network.proxy.ip("link set nosuch up")


def test_entering_a_namespace_is_undone(network: Network) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with network.one.entered():
        assert os.readlink("/proc/thread-self/ns/net") != home
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_what_a_killed_run_has_left_is_removed_and_nothing_else(network: Network) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    left = Namespace(f"lbt{gone.pid}-0-left")
    remove_abandoned()
    assert not left.path.exists()
    assert network.one.path.exists()
