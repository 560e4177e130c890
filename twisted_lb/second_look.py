"""What plugins and rules say of a configuration that is refused already: all that is wrong is to be told at once.

They are asked about what could be read, and about nothing that depends on what could not: a problem is never told that
would not be there if the others were repaired.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from twisted_lb.assembly import Assembler, Assembly
from twisted_lb.config import model
from twisted_lb.config.convert import INVALID
from twisted_lb.config.load import UnsoundConfigError
from twisted_lb.config.policies import Rule
from twisted_lb.config.uses import AccessLogUse, AnyOf, Use
from twisted_lb.errors import ConfigError, found_in
from twisted_lb.plugin_host import PluginHost, load_plugins
from twisted_lb.process import Process
from twisted_lb.supply import Runtime

_POLICED_BY = ("mode", "bind", "accept_proxy", "tcp", "validators", "inspect_expired", "policies", "routes")
"""Settings of a frontend that its rules depend on."""


@contextmanager
def all_told(source: str, make_process: Callable[[], Process]) -> Iterator[None]:
    """Let what is wrong with a configuration that cannot be loaded be told with what plugins and rules say of it.

    ``source``: what its problems begin with.
    """
    try:
        yield
    except UnsoundConfigError as error:
        more: Sequence[str] = ()
        # Whatever goes wrong here, what is known already must be told.
        with suppress(Exception):
            more = _SecondLook(error.config, error.problems, source, make_process()).problems()
        raise ConfigError(*error.problems, *more) from None


class _SecondLook:
    def __init__(self, config: model.Config, known: Sequence[str], source: str, process: Process) -> None:
        self._known = known
        self._source = source
        self._config = config
        parts = {"process": model.Process(), "lists": {}, "tables": {}}
        whole = msgspec.structs.replace(config, **{key: one for key, one in parts.items() if not self._stands(key)})
        self._assembler = Assembler(whole, process, Assembly(whole, process))
        self._runtime = Runtime(process.reactor, process.clock)

    def _stands(self, key: str, value: Any = None) -> bool:
        """Whether nothing is known to be wrong with the value of a key; that of a section by default."""
        start = f"{self._source}: {key}"
        told = any(one.startswith(start) and one[len(start) :][:1] in ".[:" for one in self._known)
        return not told and _is_whole(getattr(self._config, key) if value is None else value)

    def problems(self) -> list[str]:
        """Ask all who can be asked; what they say, with the source before it."""
        config, found = self._config, self._assembler.problems
        if config is INVALID or not (self._stands("plugins") and self._stands("disabled_plugins")):
            return []
        with found.collected():
            host = load_plugins(config.plugins, config.disabled_plugins, self._runtime)
            self._look(host)
        found += self._assembler.made.lists.problems
        try:
            with found_in(self._source):
                raise ConfigError(*found)
        except ConfigError as error:
            return [problem for problem in error.problems if problem not in self._known]

    def _look(self, host: PluginHost) -> None:
        config = self._config
        self._assembler.tables(host)
        if config.defaults is not INVALID:
            self._build(host, "balancers", [config.defaults.balance])
            self._build(host, "access_logs", [config.defaults.access_log])
        for _, backend in _entries(config.backends):
            self._build(host, "balancers", [backend.balance])
        for name, frontend in _entries(config.frontends):
            with suppress(Exception):
                self._frontend(host, name, frontend)

    def _frontend(self, host: PluginHost, name: str, frontend: model.Frontend) -> None:
        mode = frontend.mode if frontend.mode in ("tcp", "http") else ""
        named = all(self._stands(key) for key in ("lists", "tables"))
        if named and all(self._stands(f"frontends.{name}.{key}", getattr(frontend, key)) for key in _POLICED_BY):
            self._assembler.validators(host, name, frontend)
            self._assembler.policies(host, name, frontend)
        else:
            self._build(host, "validators", _uses(frontend.validators), mode)
            self._build(host, "policies", _uses(frontend.policies), mode)
        self._build(host, "observers", _uses(frontend.observers), mode)
        self._build(host, "body_filters", _uses(frontend.body_filters), mode)
        self._build(host, "access_logs", [frontend.access_log], mode)

    def _build(self, host: PluginHost, kind: str, uses: Sequence[Any], mode: str = "") -> None:
        whole = [one for one in uses if isinstance(one, Use) and _is_whole(one) and not _is_no_log(one)]
        self._assembler.build(host, kind, whole, mode)


def _entries(section: Any) -> list[tuple[str, Any]]:
    if section is INVALID:
        return []
    return [(name, one) for name, one in section.items() if INVALID not in (name, one)]


def _uses(entries: Any) -> list[Use]:
    """Return what of a list uses plugins, also in an ``any_of``."""
    found: list[Use] = []
    for entry in () if entries is INVALID else entries:
        if isinstance(entry, AnyOf):
            found += _uses(entry.any_of)
        elif entry is not INVALID and not isinstance(entry, Rule):
            found.append(entry)
    return found


def _is_no_log(use: Use) -> bool:
    return isinstance(use, AccessLogUse) and use.use == "none"


def _is_whole(value: Any) -> bool:
    """Whether nothing in a value was wrong."""
    if value is INVALID:
        return False
    if isinstance(value, msgspec.Struct):
        return all(_is_whole(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, dict):
        return all(_is_whole(one) for pair in value.items() for one in pair)
    return all(map(_is_whole, value)) if isinstance(value, list | tuple) else True
