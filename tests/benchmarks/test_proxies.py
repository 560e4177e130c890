"""Peers that the user adds, the order of runs, and who takes part."""

from pathlib import Path

import pytest

from benchmarks.bench import rotated, takes_part
from benchmarks.proxies import Placement, connections_within, peer_from_command
from benchmarks.workloads import WORKLOADS


def test_a_command_becomes_a_peer_with_its_ports_filled_in() -> None:
    peer = peer_from_command("mine=/opt/my proxy/run --on={port} '{server1} {server2}'")
    assert peer.prepare is not None
    command = peer.prepare(Placement(Path(), 80, (81, 82), 1024))
    assert (peer.name, command) == ("mine", ["/opt/my", "proxy/run", "--on=80", "81 82"])


@pytest.mark.parametrize("definition", ["", "name", "name=", "=command", "name=command {prot}", "name=command {"])
def test_a_command_that_cannot_work_is_refused(definition: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=COMMAND|placeholder"):
        peer_from_command(definition)


def test_every_peer_begins_a_round_in_its_turn() -> None:
    assert [rotated(["a", "b", "c"], by)[0] for by in range(4)] == ["a", "b", "c", "a"]
    assert sorted(rotated(["a", "b", "c"], 2)) == ["a", "b", "c"]
    assert rotated([], 3) == []


def test_a_variant_runs_only_where_it_differs_and_an_added_peer_everywhere() -> None:
    def taking_part(name: str) -> list[str]:
        return [workload.name for workload in WORKLOADS.values() if takes_part(name, workload)]

    assert taking_part("ours") == taking_part("added") == list(WORKLOADS)
    assert taking_part("ours-json-log") == ["conn"]
    assert taking_part("haproxy-splice-auto") == ["bulk1", "bulk4"]
    assert taking_part("direct") == [name for name in WORKLOADS if name != "idle"]


def test_four_thousand_connections_fit_into_a_limit_of_twenty_thousand_descriptors() -> None:
    assert connections_within(20_000) >= 4000
    assert connections_within(100) == 1
