"""Rules that count: ``track``, ``count`` and ``limit``; and tables as rules see them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from twisted_lb.conditions import Get
from twisted_lb.config.policies import Rule
from twisted_lb.contracts import IPolicy
from twisted_lb.counting.entries import Count, Limit, Track
from twisted_lb.counting.limit import LimitText, parse_limit
from twisted_lb.counting.named import NamedTable, stage_of
from twisted_lb.counting.tables import Tables
from twisted_lb.declared import Fact
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.rules.actions import answers_request, verdict_of
from twisted_lb.rules.expression import Compiled, compile_expression, parse_fact
from twisted_lb.rules.scope import Scope
from twisted_lb.tables.counters import GENERAL
from twisted_lb.tables.keys import Key, parse_key
from twisted_lb.verdicts import Decision


def with_tables(scope: Scope, tables: Tables) -> Scope:
    """Return a scope with the counters of those tables too whose keys are known in it."""
    facts, elsewhere = dict(scope.facts), dict(scope.elsewhere)
    for name, table in tables.named.items():
        try:
            known_from = parse_fact(table.key.fact, scope).fact.stage
        except ConfigError:
            for counter in table.facts(scope.mode, Stage.POLICY):
                elsewhere[counter] = f"the key of table {name} is {table.key.fact}, and nobody knows that here"
        else:
            facts |= table.facts(scope.mode, known_from)
    return replace(scope, facts=facts, elsewhere=elsewhere, tables=tables)


def read_key(text: str, scope: Scope) -> Key:
    """Understand the key of a table. Raises: ConfigError."""

    def find(name: str) -> tuple[Fact, Get]:
        use = parse_fact(name, scope)
        return use.fact, use.get

    return parse_key(text, find)


def asked_first(policy: IPolicy, compiled: Compiled | None, scope: Scope) -> IPolicy:
    """Return a policy with a condition that asks for what it reads of shared tables before it decides."""
    if scope.tables is None or compiled is None:
        return policy
    asking: IPolicy = scope.tables.asked_first(policy, [one.name for one in compiled.facts])
    return asking


def build_limit(rule: Rule, scope: Scope) -> IPolicy:
    """Build the policy of an entry with ``limit``, ``track`` or ``count``.

    Raises: ConfigError, each problem with the key below the entry's.
    """
    compiled = None
    if rule.if_ is not None:
        with blamed("if"):
            compiled = compile_expression(rule.if_, scope)
    build = _track if rule.track is not None else _count if rule.count is not None else _limit
    (action,) = rule.actions
    with blamed(action):
        return asked_first(build(rule, scope, compiled), compiled, scope)


def _track(rule: Rule, scope: Scope, compiled: Compiled | None) -> IPolicy:
    assert rule.track is not None
    table = _named(rule.track, scope)
    return Track(table, _stage(table, scope, compiled), None if compiled is None else compiled.condition)


def _count(rule: Rule, scope: Scope, compiled: Compiled | None) -> IPolicy:
    assert rule.count is not None
    name, _, counter = rule.count.rpartition(".")
    if counter not in GENERAL or not name:
        raise ConfigError(f'"{rule.count}": expected TABLE.COUNTER; the counters are {", ".join(GENERAL)}')
    table = _named(name, scope)
    return Count(
        table, GENERAL[counter], _stage(table, scope, compiled), None if compiled is None else compiled.condition
    )


def _stage(table: NamedTable, scope: Scope, compiled: Compiled | None) -> Stage:
    """Return the first stage that knows both a table's key and the facts of a condition."""
    known_from = parse_fact(table.key.fact, scope).fact.stage
    return known_from if compiled is None else max(known_from, compiled.stage)


def _named(name: str, scope: Scope) -> NamedTable:
    assert scope.tables is not None
    known = scope.tables.named
    if name in known:
        return known[name]
    raise ConfigError(scope.missing_table(name))


def _limit(rule: Rule, scope: Scope, compiled: Compiled | None) -> IPolicy:
    text = parse_limit(rule.limit or "")
    if text.measure == "requests" and scope.mode != "http":
        raise ConfigError(f'"{rule.limit}": there are requests only in mode = "http"')
    table = _limited(rule, text, scope)
    table.want([text.counter.name])
    action = rule.action or "deny"
    stage = stage_of(text.counter, scope.mode, _stage(table, scope, compiled))
    if answers_request(action, rule, scope.mode):
        stage = max(stage, Stage.POLICY)
    verdict = _verdict(rule, action, text.window_s)
    return Limit(table, text.counter, text.most, verdict, stage, None if compiled is None else compiled.condition)


def _limited(rule: Rule, text: LimitText, scope: Scope) -> NamedTable:
    assert scope.tables is not None
    if rule.table is None:
        key = read_key(text.key, scope)
        return scope.tables.own(scope.frontend, text.counter.name, key, text.window_s, rule.if_)
    table = _named(rule.table, scope)
    if table.key.text != text.key:
        raise ConfigError(f'"{rule.limit}": the key of table {table.name} is {table.key.text}')
    if text.window_s is not None and text.window_s != table.bounds[2]:
        raise ConfigError(f'"{rule.limit}": the window of table {table.name} is {table.bounds[2]:g}s')
    return table


def _verdict(rule: Rule, action: str, window_s: float | None) -> Decision:
    """Return what who is above the limit gets; a refusal says how long to wait, if a limit can say that."""
    if action == "deny" and rule.status is None:
        fields = {name.lower() for name in rule.headers}
        headers = dict(rule.headers)
        if window_s is not None and "retry-after" not in fields:
            headers["Retry-After"] = str(math.ceil(window_s))
        rule = msgspec.structs.replace(rule, status=429, headers=headers)
    return verdict_of(action, rule)


@contextmanager
def blamed(key: str) -> Iterator[None]:
    """Let the problems of a ConfigError begin with a key."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(f"{key}: {problem}" for problem in error.problems)) from None
