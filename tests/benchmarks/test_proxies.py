"""Peers that the user adds, the order of runs, and who takes part."""

from pathlib import Path

import pytest

from benchmarks.arrangement import Arrangement
from benchmarks.backend import Servers
from benchmarks.bench import rotated, takes_part
from benchmarks.placement import Placement, connections_within
from benchmarks.proxies import peer_from_command
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

    everywhere = list(WORKLOADS)
    assert taking_part("ours") == everywhere
    assert taking_part("added") == [name for name in everywhere if name != "source"]
    assert taking_part("ours-json-log") == taking_part("ours-tcp-options") == ["conn"]
    assert taking_part("ours-buffer-request") == taking_part("nginx-request-buffering") == ["http-uploads"]
    assert taking_part("haproxy-splice-auto") == ["bulk1", "bulk4"]
    assert taking_part("haproxy-reuse-always") == ["http-ka", "http-browser", "http-conn"]
    assert taking_part("envoy") == [name for name in everywhere if name.startswith("http-")]
    assert taking_part("direct") == [name for name in everywhere if name not in ("idle", "source", "http-uploads")]


def test_a_proxy_connects_to_the_servers_that_its_arrangement_needs() -> None:
    servers = Servers(plain=(1, 2), proxied=(3, 4), reading=(5, 6), greeting=(7, 8))
    behind = [servers.behind(arrangement) for arrangement in Arrangement]
    assert behind == [(1, 2), (3, 4), (1, 2), (1, 2), (5, 6), (7, 8)]


def test_four_thousand_connections_fit_into_a_limit_of_twenty_thousand_descriptors() -> None:
    assert connections_within(20_000) >= 4000
    assert connections_within(100) == 1
