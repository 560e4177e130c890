"""TPROXY and REDIRECT: whether the rules and routes are there that bring a frontend its traffic."""

import shlex
from collections.abc import Iterator
from typing import Any

from twisted_lb.config.addresses import IpAddress
from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, advice, missing, ok
from twisted_lb.doctor.interception import Interception, interceptions
from twisted_lb.doctor.machine import CannotLookError, Machine, inside, place
from twisted_lb.doctor.sites import listening

VERSION = {"ip": "IPv4", "ip6": "IPv6"}


def examine(config: Config, machine: Machine, file: str) -> Iterator[Finding]:
    """``file``: the configuration's, for the commands."""
    for name in config.frontends:
        command = f"twisted-lb doctor --config {shlex.quote(file)} --print-tproxy {shlex.quote(name)} | sh"
        for one in interceptions(config, name):
            why = ", ".join(one.keys)
            try:
                lacking = list(_lacking(one, machine))
            except CannotLookError as error:
                yield missing(str(error), why, *error.commands)
                continue
            if lacking:
                yield missing(f"{'; '.join(lacking)}{place(one.namespace)}", why, command)
            else:
                yield ok(f"packets are marked, and routed to this machine{place(one.namespace)}", why)
    yield from _redirected(config, machine)


def _lacking(one: Interception, machine: Machine) -> Iterator[str]:
    rules = _rules(machine, one.namespace)
    if one.listeners:
        for family in sorted({family for family, _ in one.listeners}):
            if not any(_intercepts(rule, family) for rule in rules):
                yield f"no nftables rule has tproxy for {VERSION[family]}"
    if one.returning and not any(_has(rule, "match", "socket") or _is_foreign(rule, "socket") for rule in rules):
        yield 'no nftables rule marks what servers send to clients\' addresses ("socket transparent")'
    marks = {mark for rule in rules for mark in _marks(rule)}
    for family in one.families:
        if not _routed(machine, family, one.namespace, marks):
            yield f"no ip rule routes marked {VERSION[family]} packets by a table with a local default route"


# nftables


def _rules(machine: Machine, namespace: str | None) -> list[list[Any]]:
    """Return the expressions of each rule."""
    listed = machine.json(["nft", "-j", "list", "ruleset"], namespace)
    entries = listed.get("nftables", []) if isinstance(listed, dict) else []
    return [entry["rule"].get("expr", []) for entry in entries if "rule" in entry]


def _intercepts(rule: list[Any], family: str) -> bool:
    """Whether it is a tproxy of that family; of iptables' rules nothing but the target's name can be seen."""
    found = [expression["tproxy"] for expression in rule if "tproxy" in expression]
    return any(one.get("family", family) == family for one in found) or _is_foreign(rule, "TPROXY")


def _is_foreign(rule: list[Any], name: str) -> bool:
    return any(isinstance(one.get("xt"), dict) and one["xt"].get("name") == name for one in rule)


def _has(rule: list[Any], statement: str, left: str) -> bool:
    return any(statement in one and left in _left(one[statement]) for one in rule)


def _left(match: Any) -> Any:
    left = match.get("left", {}) if isinstance(match, dict) else {}
    return left if isinstance(left, dict) else {}


def _marks(rule: list[Any]) -> Iterator[int]:
    """Yield the marks that a rule sets, if it is one of ours."""
    if not any("tproxy" in one for one in rule) and not _has(rule, "match", "socket"):
        return
    for one in rule:
        mangle = one.get("mangle", {})
        if mangle.get("key") == {"meta": {"key": "mark"}} and isinstance(mangle.get("value"), int):
            yield mangle["value"]


# Routes


def _routed(machine: Machine, family: str, namespace: str | None, marks: set[int]) -> bool:
    version = "-4" if family == "ip" else "-6"
    for rule in machine.json(["ip", "-j", version, "rule", "show"], namespace):
        if "fwmark" not in rule or (marks and int(str(rule["fwmark"]), 0) not in marks):
            continue
        try:
            command = ["ip", "-j", version, "route", "show", "table", str(rule.get("table", "main"))]
            routes = machine.json(command, namespace)
        except CannotLookError:  # "FIB table does not exist"
            continue
        if any(route.get("type") == "local" and route.get("dst") == "default" for route in routes):
            return True
    return False


# REDIRECT


def _redirected(config: Config, machine: Machine) -> Iterator[Finding]:
    for one in listening(config):
        if not one.bind.original_dst or not isinstance(one.address, IpAddress):
            continue
        why = f"{one.key}.original_dst"
        try:
            rules = _rules(machine, one.namespace)
        except CannotLookError as error:
            yield missing(str(error), why, *error.commands)
            continue
        if any("redirect" in part or "dnat" in part or "xt" in part for rule in rules for part in rule):
            yield ok(f"there are rules that redirect{place(one.namespace)}", why)
            continue
        table = "inet twisted_lb_redirect"
        chain = f"{table} prerouting"
        commands = [
            f"nft add table {table}",
            f"nft 'add chain {chain} {{ type nat hook prerouting priority dstnat; }}'",
            f"nft add rule {chain} tcp dport 80 redirect to :{one.address.low}    # 80: what clients connect to",
        ]
        commands = [inside(one.namespace, command) for command in commands]
        yield advice(f"no nftables rule redirects anything{place(one.namespace)}", why, *commands)
