"""What the rules of one frontend may use at one place of its policies: facts and named lists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from twisted_lb.config.hints import nearest, quoted
from twisted_lb.counting.tables import Tables
from twisted_lb.declared import OWN_FACTS, Fact
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.rules.http_facts import FAULTS, HEADERS, HTTP_FACTS, header_use
from twisted_lb.rules.values import FactUse, use_of

ListKind = Literal["networks", "hosts", "strings", "small", "integers"]
"""What the entries of a list are taken for; ``small``: strings in small letters."""


SPELT_HERE: Mapping[str, str] = {
    "any": "true for every connection",
    "all": "true for every connection",
    "always": "true for every connection",
    "never": "false",
    "ip": "source",
    "client": "source",
    "client_ip": "source",
    "remote_addr": "source",
    "src_port": "source.port",
    "dst": "destination",
    "dst_port": "destination.port",
    "port": "destination.port",
    "req.ssl_sni": "tls.sni",
    "ssl_fc_sni": "tls.sni",
    "req.ssl_alpn": "tls.alpn",
    "path": "http.path",
    "method": "http.method",
    "host": "http.host, or tls.sni",
    "url": "http.target",
    "query": "http.query",
    "user_agent": "http.headers['user-agent']",
    "http.header": "http.headers['name']",
}
"""Words of HAProxy, nginx and of people for what is called otherwise here."""


class View(Protocol):
    """A named list, taken for entries of one kind; what it contains changes with its file."""

    @property
    def contains(self) -> Callable[[Any], Any]:
        """What looks a value up; asked for anew for each look-up."""


class NamedLists(Protocol):
    """The ``[lists]`` of a configuration."""

    def names(self) -> list[str]:
        """Return the names of all lists."""

    def view(self, name: str, kind: ListKind) -> View:
        """Return the list of that name as entries of that kind; what is wrong in it is told elsewhere."""


class NoLists:
    """A configuration without ``[lists]``."""

    def names(self) -> list[str]:
        """See ``NamedLists``."""
        return []

    def view(self, name: str, kind: ListKind) -> View:
        """See ``NamedLists``."""
        raise LookupError(name)


@dataclass(frozen=True, slots=True)
class Scope:
    """The facts that are known at one place, by name, and the lists.

    ``facts``: what the proxy itself and the frontend's validators and earlier policies know. ``elsewhere``: for facts
    that nobody here learns, what would, in a few words. ``tables``: those that rules can count in; their counters are
    among ``facts``. ``frontend``: whose rules these are.
    """

    facts: Mapping[str, Fact] = field(default_factory=lambda: OWN_FACTS)
    mode: Literal["tcp", "http"] = "tcp"
    lists: NamedLists = field(default_factory=NoLists)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    tables: Tables | None = None
    frontend: str = ""

    def fact(self, name: str) -> FactUse:
        """Return the fact of that name. Raises ValueError that says what is wrong, with the nearest name."""
        fact = self._known().get(name)
        if fact is not None and fact.stage > Stage.POLICY:
            raise ValueError(f"{name} is known only in the stage {fact.stage.name.lower()}, when all rules were asked")
        if fact is not None and fact.mode in (None, self.mode):
            return use_of(name, fact, FAULTS.get(name))
        raise ValueError(self.missing(name))

    def find(self, name: str) -> tuple[Fact, Callable[[Facts], Any]]:
        """Return the fact of that name and what gets its value, as ``IFactPolicy`` asks. Raises ConfigError."""
        try:
            use = self.fact(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return use.fact, use.get

    def header(self, name: str) -> FactUse:
        """Return the fields of that name. Raises ValueError."""
        self.fact(HEADERS)
        return header_use(name)

    def missing(self, name: str) -> str:
        """Say why there is no fact of that name here."""
        of_mode = self._known().get(name) or HTTP_FACTS.get(name)
        if of_mode is not None:
            return f'{name} is known only in mode = "{of_mode.mode}"'
        if name in self.elsewhere:
            return f"nobody here learns {name}: {self.elsewhere[name]}"
        if name in ("True", "False"):
            return f"{name} is written {name.lower()}"
        if name.startswith(f"{HEADERS}."):
            return f"there is no fact \"{name}\"; write {HEADERS}['{name.removeprefix(HEADERS)[1:]}']"
        meant = SPELT_HERE.get(name.lower())
        if meant is not None:
            return f'there is no fact "{name}"; write {meant}'
        if name.startswith("tables.") and self.tables is not None and name.split(".")[1] not in self.tables.named:
            return self.missing_table(name.split(".")[1])
        found = nearest(name, [*self._known(), *self.elsewhere])
        if found is not None:
            return f'there is no fact "{name}"; did you mean "{found}"?'
        family = [one for one in self._known() if one.partition(".")[0] == name.partition(".")[0]]
        return f'there is no fact "{name}"; there are {", ".join(family or self._known())}'

    def missing_table(self, name: str) -> str:
        """Say that there is no table of that name, with the nearest one, or how one is made."""
        known = {} if self.tables is None else self.tables.named
        if self.tables is not None and name in self.tables.faulty:
            return f'table "{name}" cannot be used before what is wrong with it is repaired'
        if not known:
            return f'there is no table "{name}": write [tables.{name}] and key = "source"'
        near = nearest(name, known)
        return f'there is no table "{name}"; ' + (f'did you mean "{near}"?' if near else f"there are {quoted(known)}")

    def _known(self) -> Mapping[str, Fact]:
        return {**self.facts, **HTTP_FACTS} if self.mode == "http" else self.facts

    def list_view(self, name: str, kind: ListKind) -> View:
        """Return the list of that name. Raises ValueError with the nearest name."""
        known = self.lists.names()
        if name in known:
            return self.lists.view(name, kind)
        if not known:
            raise ValueError(f'there is no list "{name}": write [lists] and {name} = "FILE"')
        found = nearest(name, known)
        hint = f'did you mean "{found}"?' if found else f"there are {quoted(known)}"
        raise ValueError(f'there is no list "{name}"; {hint}')
