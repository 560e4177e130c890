"""The page about rules lists every fact that there is, and what it shows is true."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from tests.rules.compiled import mistakes
from twisted_lb.assembly import assemble
from twisted_lb.config.load import load_dict
from twisted_lb.config.policies import Rule
from twisted_lb.declared import OWN_FACTS, PROXY_FACTS, SYN_FACTS, Fact
from twisted_lb.endings import Stage
from twisted_lb.plugin_host import KindName, load_plugins
from twisted_lb.process import Process
from twisted_lb.rules.http_facts import HTTP_FACTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "rules.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
DOCUMENTED = {match[1]: match[0] for match in ROW.finditer(PAGE)}
WORDS = {"a whole number": "number", "a string": "string", "an address": "address", "a list of strings": "strings"}


def type_of(fact: Fact) -> str:
    return "host" if fact.host else WORDS.get(fact.type.value, fact.type.value)


def learnt() -> Iterator[tuple[str, Fact, str]]:
    """Every fact that a bundled plugin learns: its name, itself, and who does."""
    host = load_plugins()
    kinds: tuple[KindName, ...] = ("validators", "policies")
    found: dict[str, tuple[Fact, list[str]]] = {}
    for kind in kinds:
        for name, supplied in host.supplies(kind).items():
            for fact_name, fact in supplied.supply.facts.items():
                found.setdefault(fact_name, (fact, []))[1].append(f"`{name}`")
    for fact_name, (fact, names) in found.items():
        if fact.stage <= Stage.POLICY:
            yield fact_name, fact, ", ".join(names) if len(names) < 5 else "most validators"


def rows() -> Iterator[str]:
    """Every row of the tables, as it should be."""
    groups: tuple[tuple[Mapping[str, Fact], str], ...] = (
        (OWN_FACTS, "every connection"),
        (PROXY_FACTS, "`accept_proxy`"),
        (SYN_FACTS, "`tcp.save_syn`"),
        (HTTP_FACTS, '`mode = "http"`'),
    )
    for facts, who in groups:
        yield from (row(name, fact, who) for name, fact in facts.items())
    yield from (row(*one) for one in learnt())


def row(name: str, fact: Fact, who: str) -> str:
    return f"| `{name}` | {type_of(fact)} | {who} | {fact.about} |"


def test_the_page_lists_every_fact_with_its_type_and_who_knows_it() -> None:
    expected = list(rows())
    missing = [one for one in expected if one not in DOCUMENTED.values()]
    assert not missing, "the page lacks:\n" + "\n".join(missing)
    assert set(DOCUMENTED.values()) == set(expected)


def test_the_mistakes_shown_are_those_that_are_told() -> None:
    shown = re.findall(r"^lb\.toml: frontends\.web\.policies\[\d\]\.\w+: (.*\n    .*\n    \^?.*)$", PAGE, re.MULTILINE)
    assert len(shown) == 3
    for problem in shown:
        assert problem in mistakes(problem.split("\n")[1].strip())


@pytest.mark.parametrize("page", ["reference/rules.md", "how-to/write-rules.md", "how-to/explain.md"])
def test_the_rules_of_the_examples_compile(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    examples = [tomllib.loads(one) for one in re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    count = 0
    for example in examples:
        lists = {name: {"file": "/dev/null"} for name in example.pop("lists", {})}
        for frontend in example.get("frontends", {}).values():
            frontend.setdefault("bind", "127.0.0.1:0")
            frontend.setdefault("backend", "app")
            frontend.setdefault("accept_proxy", False)
        names = {frontend["backend"] for frontend in example.get("frontends", {}).values()}
        names |= {route["backend"] for one in example.get("frontends", {}).values() for route in one.get("routes", [])}
        whole = {
            "lists": {name: {"file": "/dev/null"} for name in ("blocklist", "internal", "customers")} | lists,
            "frontends": {"web": {"bind": "127.0.0.1:0", "backend": "app"}},
            "backends": {name: {"servers": {"a": "127.0.0.1:1"}} for name in names | {"app"}},
            **{key: value for key, value in example.items() if key not in ("backends", "lists")},
        }
        config = load_dict(whole, page)
        assemble(config, Process(MemoryReactor(), Clock(), None))
        count += sum(isinstance(one, Rule) for frontend in config.frontends.values() for one in frontend.policies)
    assert count
