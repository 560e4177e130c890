"""What the entries of ``policies`` become: plugins' policies and rules, each with the facts known before it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from msgspec import UNSET

from twisted_lb.config import model
from twisted_lb.config.convert import join
from twisted_lb.config.hints import quoted
from twisted_lb.config.policies import Rule
from twisted_lb.config.uses import AnyOf, Use
from twisted_lb.contracts import IFactPolicy, IPolicy
from twisted_lb.counting.tables import Tables
from twisted_lb.declared import OWN_FACTS, PROXY_FACTS, SYN_FACTS, Fact, protocol_fact
from twisted_lb.errors import ConfigError, shown
from twisted_lb.plugin_host import Built, KindName, PluginHost
from twisted_lb.rules.certainty import certain_answer
from twisted_lb.rules.http_facts import HTTP_FACTS
from twisted_lb.rules.limits import with_tables
from twisted_lb.rules.rule import build_rule
from twisted_lb.rules.scope import NamedLists, Scope
from twisted_lb.stages.validator import PROTOCOL

_UNNAMED = re.compile(r"proxy\.(ssl\.)?0x[0-9A-F]{2}")
"""Facts that the TLVs of unknown types make in a PROXY header."""
RECOGNISED = replace(protocol_fact(), mode="tcp")
"""The fact ``protocol`` of an ``any_of``, whatever its validators declare."""
RULES = "rules"
"""Stands for the plugin of a policy that is a rule."""
SHOWN = 60
"""Characters of an expression that are shown where it is not what is wrong."""
_COUNTING = ("limit", "track", "count")
Build = Callable[[Use], Sequence[Built[IPolicy]]]
"""Builds the policy of an entry that uses a plugin; none if it cannot be built, which is told then."""


class PolicyAssembly:
    """The policies of one frontend, built in their order. ``problems``: what is wrong with rules, with their keys."""

    def __init__(
        self, host: PluginHost, name: str, settings: model.Frontend, lists: NamedLists, tables: Tables
    ) -> None:
        self.problems: list[str] = []
        self._host = host
        self._name = name
        self._tables = tables
        self._where = f"frontends.{name}"
        self._settings = settings
        self._lists = lists
        self._facts: dict[str, Fact] = {**OWN_FACTS, **_of_settings(settings)}
        members = [one for entry in settings.validators if isinstance(entry, AnyOf) for one in entry.any_of]
        if members:
            self._facts[PROTOCOL] = self._recognised(members)
        self._learn_from("validators", validator_uses(settings.validators))

    def _recognised(self, members: Iterable[Use]) -> Fact:
        """Declare ``protocol``; what it may be is known if all members of an ``any_of`` say what they recognise."""
        known = self._host.supplies("validators")
        facts = [known[one.use].supply.facts.get(PROTOCOL) for one in members if one.use in known]
        values = [() if fact is None else fact.values for fact in facts]
        return replace(RECOGNISED, values=_merged(values))

    def build(self, build_use: Build) -> list[Built[IPolicy]]:
        """Build all entries; a rule may use what the entries before it learn."""
        built: list[Built[IPolicy]] = []
        last_word = ""
        for index, entry in enumerate(self._settings.policies):
            where = f"{self._where}.policies[{index}]"
            if last_word:
                remedy = "put it before that, or leave it out"
                self.problems.append(f"{where}: is never reached: {last_word} decides about everything: {remedy}")
            made = self._rule(where, entry, f"policies[{index}]") if isinstance(entry, Rule) else build_use(entry)
            if not isinstance(entry, Rule):
                for one in made:
                    self._find_facts(entry, one)
                self._learn_from("policies", [entry], made)
            if not last_word and _decides_always(entry, made):
                last_word = f"policies[{index}], {described(entry, SHOWN)},"
            built += made
        return built

    def _rule(self, where: str, rule: Rule, name: str) -> Sequence[Built[IPolicy]]:
        try:
            return [Built(RULES, name, build_rule(rule, self.scope()))]
        except ConfigError as error:
            self.problems.extend(f"{where}.{problem}" for problem in error.problems)
        return []

    def _find_facts(self, entry: Use, made: Built[IPolicy]) -> None:
        """Show a policy that asks for it the facts that there are where its entry stands."""
        policy = made.object
        if not IFactPolicy.providedBy(policy):
            return
        try:
            policy.use_facts(self.scope().find)
        except ConfigError as error:
            self.problems.extend(f"{entry.where}.{problem}" for problem in error.problems)
        except Exception as error:
            self.problems.append(f'{entry.where}: plugin "{made.plugin}" raised {shown(error)} in use_facts')

    def check_routes(self) -> None:
        """Find routes by facts that nobody learns: they would never be taken."""
        scope = self.scope()
        for index, route in enumerate(self._settings.routes):
            for name in route.facts:
                where = join(f"{self._where}.routes[{index}].facts", name)
                if name in HTTP_FACTS:
                    self.problems.append(f"{where}: a route has settings of its own for what a request says")
                elif not (_UNNAMED.fullmatch(name) and PROXY_FACTS.keys() <= self._facts.keys()):
                    try:
                        use = scope.fact(name)
                    except ValueError as error:
                        self.problems.append(f"{where}: {error}")
                        continue
                    wanted = route.facts[name]
                    fault = use.fault(wanted, "whole") if use.fact.values and wanted != "*" else ""
                    if fault:
                        self.problems.append(f"{where}: {name} is never {wanted!r}: {fault}")

    def scope(self) -> Scope:
        """Return what can be used behind the entries that were built so far; in the end, what routes can use."""
        scope = Scope(dict(self._facts), self._settings.mode, self._lists, self._elsewhere(), frontend=self._name)
        return with_tables(scope, self._tables)

    def _learn_from(self, kind: KindName, uses: Iterable[Use], built: Sequence[Built[IPolicy]] = ()) -> None:
        known = self._host.supplies(kind)
        for use in uses:
            supplied = known.get(use.use)  # a name that is unknown is told where it is built
            if supplied is None:
                continue
            for name, fact in supplied.supply.facts.items():
                # Nobody knows it before its policy was asked.
                stage = max([fact.stage, *(one.object.stage for one in built)])
                other = self._facts.get(name, fact)
                self._facts[name] = replace(
                    self._facts.get(name) or replace(fact, stage=stage), values=_merged([other.values, fact.values])
                )
                if other.type is not fact.type:
                    self.problems.append(
                        f"{self._where}.{kind}: {name} is {fact.type.value} of {use.use},"
                        f" and {other.type.value} of another one: they cannot be used together"
                    )

    def _elsewhere(self) -> Mapping[str, str]:
        """Say for each fact that nobody here learns so far who would."""
        found: dict[str, tuple[str, list[str]]] = {}
        kinds: tuple[tuple[Literal["validators", "policies"], str], ...] = (
            ("validators", "a validator does: {}"),
            ("policies", "a policy before this entry would: {}"),
        )
        of_other_mode: dict[str, tuple[str, list[str]]] = {}
        for kind, words in kinds:
            for name, supplied in self._host.supplies(kind).items():
                mode = supplied.supply.mode
                fits = mode in (None, self._settings.mode)
                for fact in supplied.supply.facts:
                    if fits:
                        found.setdefault(fact, (words, []))[1].append(name)
                    else:
                        of_other_mode[fact] = (f'only in mode = "{mode}"', [])
        found = of_other_mode | found
        return {fact: words.format(quoted(names)) for fact, (words, names) in found.items() if fact not in self._facts}


def described(entry: Use | Rule, longest: int = 10_000) -> str:
    """Spell an entry of ``policies`` in a few words, an expression in ``longest`` characters at most."""
    if isinstance(entry, Use):
        return f'use = "{entry.use}"'
    action = entry.actions[0]
    text = " ".join(str(getattr(entry, action)).split())
    return f'{action} = "{text if len(text) <= longest else text[:longest] + "..."}"'


def _decides_always(entry: Use | Rule, made: Sequence[Built[IPolicy]]) -> bool:
    """Whether nobody goes on behind an entry, be it let through or not."""
    if isinstance(entry, Use):
        return any(getattr(one.object, "always_decides", False) is True for one in made)
    action = entry.actions[0]
    return action not in _COUNTING and certain_answer(getattr(entry, action)) is True


def _merged(values: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return all values that a fact may have; none if that is not known of one of those who learn it."""
    return tuple(dict.fromkeys(one for some in values for one in some)) if all(values) else ()


def _of_settings(settings: model.Frontend) -> Mapping[str, Fact]:
    """Declare what is known because the frontend, or one of its binds, is set to learn it."""
    facts: dict[str, Fact] = {}
    places: list[model.Frontend | model.Bind] = [settings, *settings.bind]
    if any(one.accept_proxy not in (False, UNSET) for one in places):
        facts.update(PROXY_FACTS)
    if any(getattr(one.tcp, "save_syn", UNSET) is True for one in places):
        facts.update(SYN_FACTS)
    return facts


def validator_uses(entries: Sequence[Use | AnyOf]) -> Iterator[Use]:
    """Yield every validator that is used, those of an ``any_of`` too."""
    for entry in entries:
        if isinstance(entry, AnyOf):
            yield from entry.any_of
        else:
            yield entry
