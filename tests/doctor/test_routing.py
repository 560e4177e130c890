"""Rules and routes for TPROXY, as ``nft`` and ``ip`` list them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.fakes import config, machine, wrong
from twisted_lb.doctor.findings import Severity
from twisted_lb.doctor.routing import examine

MARK = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}
TPROXY = {"rule": {"expr": [{"tproxy": {"family": "ip", "port": 8080}}, MARK]}}
SOCKET = {"rule": {"expr": [{"match": {"op": "==", "left": {"socket": {"key": "transparent"}}, "right": 1}}, MARK]}}
RULE = [{"priority": 5, "src": "all", "fwmark": "0x1", "table": "100"}]
ROUTE = [{"type": "local", "dst": "default", "dev": "lo"}]
TRANSPARENT = {"address": "0.0.0.0:8080", "transparent": True}


def answers(rules: list[Any], rule: list[Any], route: list[Any]) -> dict[str, str]:
    return {
        "nft -j list ruleset": json.dumps({"nftables": [{"metainfo": {}}, *rules]}),
        "ip -j -4 rule show": json.dumps(rule),
        "ip -j -4 route show table 100": json.dumps(route),
    }


def test_what_is_complete_is_well(tmp_path: Path) -> None:
    looked_at = machine(tmp_path, answers=answers([TPROXY, SOCKET], RULE, ROUTE))
    (one,) = examine(config(TRANSPARENT), looked_at, "lb.toml")
    assert (one.severity, one.why) == (Severity.OK, "frontends.web.bind[0].transparent")


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        (answers([], RULE, ROUTE), "no nftables rule has tproxy for IPv4"),
        (answers([TPROXY], [], ROUTE), "no ip rule routes marked IPv4 packets"),
        (answers([TPROXY], [{**RULE[0], "fwmark": "0x2"}], ROUTE), "no ip rule routes marked IPv4 packets"),
        (answers([TPROXY], RULE, [{**ROUTE[0], "type": "unicast"}]), "no ip rule routes marked IPv4 packets"),
    ],
)
def test_what_lacks_is_named_with_the_command_that_makes_it(there: Any, lacking: str, tmp_path: Path) -> None:
    (one,) = wrong(examine(config(TRANSPARENT), machine(tmp_path, answers=there), "/etc/lb.toml"))
    assert one.severity is Severity.MISSING
    assert lacking in one.what
    assert one.commands == ("twisted-lb doctor --config /etc/lb.toml --print-tproxy web | sh",)


def test_answers_to_clients_addresses_need_their_rule(tmp_path: Path) -> None:
    given = config(server={"address": "127.0.0.1:1", "source": "client"})
    (one,) = wrong(examine(given, machine(tmp_path, answers=answers([], RULE, ROUTE)), "x"))
    assert ("socket transparent" in one.what, one.why) == (True, "backends.app.servers.a.source")
    assert not wrong(examine(given, machine(tmp_path, answers=answers([SOCKET], RULE, ROUTE)), "x"))


def test_a_program_that_is_not_installed_is_said(tmp_path: Path) -> None:
    (one,) = wrong(examine(config(TRANSPARENT), machine(tmp_path), "x"))
    assert (one.severity, one.what) == (Severity.MISSING, "the program nft is not installed")


def test_a_bind_that_expects_redirected_connections_is_told_how_to_get_them(tmp_path: Path) -> None:
    given = config({"address": "127.0.0.1:8080", "original_dst": True})
    (one,) = wrong(examine(given, machine(tmp_path, answers=answers([], [], [])), "x"))
    assert one.severity is Severity.ADVICE
    assert "redirect to :8080" in one.commands[-1]
