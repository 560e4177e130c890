"""What the ``tables`` of a configuration become."""

from typing import Any

from twisted_lb.config import model
from twisted_lb.config.units import Duration
from twisted_lb.config.uses import TableStoreUse
from twisted_lb.counting.limit import LEAST_WINDOW_S
from twisted_lb.counting.tables import MEMORY, Tables
from twisted_lb.declared import OWN_FACTS, Fact
from twisted_lb.errors import ConfigError
from twisted_lb.plugin_host import Built, PluginHost
from twisted_lb.rules.limits import read_key
from twisted_lb.rules.scope import Scope
from twisted_lb.tables.keys import Key

_OF_STORES = ("mode", "refresh", "timeout", "when_away", "lease")


def add_table(tables: Tables, host: PluginHost, name: str, settings: model.Table) -> None:
    """Make a table of a configuration. Raises: ConfigError, each problem with the key below the table's."""
    problems = _problems(settings)
    try:
        key = _key(settings.key, host)
    except ConfigError as error:
        problems += [f"key: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(*problems)

    def build_store(use: TableStoreUse) -> Built[Any]:
        return host.build("table_stores", use, "store")

    tables.add(name, settings, key, build_store)


def _problems(settings: model.Table) -> list[str]:
    problems = []
    if settings.window < LEAST_WINDOW_S:
        problems.append(f"window: {LEAST_WINDOW_S * 1000:.0f}ms at least")
    if settings.expire < settings.window:
        problems.append("expire: an entry lives as long as the window at least")
    store = settings.store
    plain = TableStoreUse(use=MEMORY)
    if store.use == MEMORY:
        beside = [*store.options, *(key for key in _OF_STORES if getattr(store, key) != getattr(plain, key))]
        problems += [
            f'store.{key}: a table in "{MEMORY}" is not shared, so nothing can be set beside it' for key in beside
        ]
        return problems
    problems += [f"store.{key}: cannot be 0" for key in _OF_STORES if getattr(store, key) == Duration(0)]
    if store.refresh < _LEAST_REFRESH_S:
        problems.append(f"store.refresh: {_LEAST_REFRESH_S * 1000:.0f}ms at least")
    if store.lease < 2 * (store.refresh + store.timeout):
        problems.append("store.lease: twice as long as refresh and timeout together at least, or it ends while we live")
    return problems


_LEAST_REFRESH_S = 0.01


def _key(text: str, host: PluginHost) -> Key:
    """Understand the key of a table, of whichever mode its fact is; who can use the table is seen at each rule."""
    facts: dict[str, Fact] = dict(OWN_FACTS)
    for supplied in (*host.supplies("validators").values(), *host.supplies("policies").values()):
        for name, fact in supplied.supply.facts.items():
            facts.setdefault(name, fact)
    try:
        return read_key(text, Scope(facts, "http"))
    except ConfigError as error:
        try:
            return read_key(text, Scope(facts, "tcp"))
        except ConfigError:
            raise error from None
