"""Finds plugins, asks them what they supply, and builds what the configuration uses; the only caller of pluggy.

Everything here runs at start-up and at each reload. What goes wrong is a ``ConfigError`` that names the plugin, and one
run reports every problem that it can find. The running proxy never sees this module, only the objects it built.
"""

import importlib
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

import msgspec
import pluggy
from zope.interface import exceptions
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyObject

from twisted_lb import hookspecs
from twisted_lb.config.convert import convert
from twisted_lb.config.hints import nearest, quoted
from twisted_lb.config.policies import RULE_ACTIONS
from twisted_lb.config.uses import Use
from twisted_lb.contracts import (
    IAccessLog,
    IBalancer,
    IBodyFilter,
    IObserver,
    IPolicy,
    IProxyCodec,
    IStreamValidator,
    ITableStore,
    IValidator,
)
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.supply import Options, Runtime, Supply

GROUP = "twisted_lb"
"""The entry point group in which installed distributions announce their plugins."""

KindName: TypeAlias = Literal[
    "balancers",
    "policies",
    "validators",
    "proxy_codecs",
    "access_logs",
    "observers",
    "body_filters",
    "table_stores",
]
T = TypeVar("T")
_OPTION = re.compile(r"(\w+)((?:\[\d+\])?): ")
"""The option that a problem is about."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of supply; its hook is ``lb_`` and the kind's name. ``reserved``: names with a meaning of their own."""

    noun: str
    interface: InterfaceClass
    reserved: frozenset[str] = frozenset()


KINDS: Mapping[KindName, Kind] = {
    "balancers": Kind("balancer", IBalancer),
    "policies": Kind("policy", IPolicy),
    "validators": Kind("validator", IValidator),
    "proxy_codecs": Kind("PROXY codec", IProxyCodec),
    "access_logs": Kind("access log", IAccessLog, frozenset({"none"})),
    "observers": Kind("observer", IObserver),
    "body_filters": Kind("body filter", IBodyFilter),
    "table_stores": Kind("table store", ITableStore, frozenset({"memory"})),
}


@dataclass(frozen=True, slots=True)
class Supplied:
    """A supply, the name that the configuration uses for it, and the plugin that it came from."""

    plugin: str
    name: str
    supply: Supply[Any]


@dataclass(frozen=True, slots=True)
class Built(Generic[T]):
    """An object that a plugin built, with both names for log lines and error messages."""

    plugin: str
    name: str
    object: T


class PluginHost:
    """What all plugins together supply. Immutable: a reload makes a new one.

    ``plugins``: the names of the loaded plugins, sorted. ``runtime``: what supplies that ask for it are built with.
    """

    def __init__(
        self,
        supplies: Mapping[KindName, Mapping[str, Supplied]],
        plugins: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> None:
        self._supplies = supplies
        self.plugins = plugins
        self._runtime = runtime

    def supplies(self, kind: KindName) -> Mapping[str, Supplied]:
        """Return all supplies of a kind, keyed and sorted by name."""
        return self._supplies[kind]

    @overload
    def build(self, kind: Literal["balancers"], use: Use, where: str = "") -> Built[IBalancer]: ...
    @overload
    def build(self, kind: Literal["policies"], use: Use, where: str = "") -> Built[IPolicy]: ...
    @overload
    def build(self, kind: Literal["validators"], use: Use, where: str = "") -> Built[IValidator]: ...
    @overload
    def build(self, kind: Literal["proxy_codecs"], use: Use, where: str = "") -> Built[IProxyCodec]: ...
    @overload
    def build(self, kind: Literal["access_logs"], use: Use, where: str = "") -> Built[IAccessLog]: ...
    @overload
    def build(self, kind: Literal["observers"], use: Use, where: str = "") -> Built[IObserver]: ...
    @overload
    def build(self, kind: Literal["body_filters"], use: Use, where: str = "") -> Built[IBodyFilter]: ...
    @overload
    def build(self, kind: Literal["table_stores"], use: Use, where: str = "") -> Built[ITableStore]: ...
    @overload
    def build(self, kind: KindName, use: Use, where: str = "") -> Built[Any]: ...
    def build(self, kind: KindName, use: Use, where: str = "") -> Built[Any]:
        """Build the object that ``use`` asks for; ``where`` is its key in the configuration, ``use.where`` if empty.

        Raises: ConfigError, each problem of which begins with ``where``, for an unknown name, wrong options, a plugin
            that cannot build, or an object that does not satisfy the interface of its kind. What a plugin says of one
            of its options, ``option: ...`` or ``option[1]: ...``, has the option behind ``where``.
        """
        where = where or use.where
        supplied = self.find(kind, use.use, where)
        who = f'{where}: plugin "{supplied.plugin}"'
        options, problems = convert(use.options, supplied.supply.options, where, use.folder)
        if problems:
            raise ConfigError(*problems)
        interface = KINDS[kind].interface
        try:
            built = self._built(supplied.supply, options)
            if interface is IValidator and IStreamValidator.providedBy(built):
                interface = IStreamValidator
            faults = list(_faults(interface, built))
        except ConfigError as error:
            named = partial(_with_option, where, supplied)
            raise ConfigError(*map(named, error.problems)) from error
        except Exception as error:
            noun = KINDS[kind].noun
            raise ConfigError(f'{who} failed to build the {noun} "{use.use}": {_cause(error)}') from error
        if faults:
            what = f"{type(built).__name__} is no {interface.__name__}"
            raise ConfigError(*(f"{who}: {what}: {fault}" for fault in faults))
        return Built(supplied.plugin, supplied.name, built)

    def _built(self, supply: Supply[Any], options: Options) -> Any:
        if not supply.runtime:
            return supply.build(options)
        if self._runtime is None:
            raise ConfigError("it can only be built in a process that serves")
        return supply.build(options, self._runtime)

    def find(self, kind: KindName, name: str, where: str) -> Supplied:
        """Return the supply of that name.

        Raises: ConfigError that lists the known names and points out the nearest one.
        """
        known = self._supplies[kind]
        if name in known:
            return known[name]
        if kind == "policies" and name in RULE_ACTIONS:
            raise ConfigError(f'{where}: "{name}" is no policy, but the key of a rule: write {{ {name} = "..." }}')
        others: tuple[KindName, ...] = ("validators", "policies", "observers", "body_filters")
        for other in others:
            if kind in others and name in self._supplies[other]:
                what = f'"{name}" is a {KINDS[other].noun}, and no {KINDS[kind].noun}: write it in {other}'
                raise ConfigError(f"{where}: {what}")
        raise ConfigError(
            f'{where}: there is no {KINDS[kind].noun} "{name}"{_hint(name, known)} (known: {quoted(known) or "none"})'
        )


def load_plugins(
    modules: Sequence[str] = (), disabled: Sequence[str] = (), runtime: Runtime | None = None
) -> PluginHost:
    """Load every installed plugin and those of ``modules`` (dotted names) but those that ``disabled`` names.

    A plugin is named as its entry point is, or by its dotted module name; both names disable it.

    Raises: ConfigError with one problem for each plugin that cannot be found or imported, misspells a hook, raises in
        one, answers nonsense, or supplies a name that another one supplies too.
    """
    problems: list[str] = []
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for name, load in _sources(modules, disabled, problems).items():
        _register(manager, name, load, problems)
    supplies: dict[KindName, Mapping[str, Supplied]] = {}
    for kind in KINDS:
        found = list(_ask(manager, kind, problems))
        supplies[kind] = _merge(kind, sorted(found, key=lambda one: (one.name, one.plugin)), problems)
    if problems:
        raise ConfigError(*problems)
    return PluginHost(supplies, sorted(name for name, _ in manager.list_name_plugin()), runtime)


def _sources(modules: Sequence[str], disabled: Sequence[str], problems: list[str]) -> dict[str, Callable[[], object]]:
    """Return what to load under which name: entry points first, then the modules that are not among them."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = points.setdefault(point.name, point)
        if other.value != point.value and point.name not in disabled:
            homes = " and ".join(sorted({_home(other), _home(point)}))
            problems.append(f'plugin "{point.name}" is announced twice, by {homes}: disable it or remove one of them')
    sources: dict[str, Callable[[], object]] = {name: point.load for name, point in points.items()}
    aliases = {point.value: name for name, point in points.items()}
    for module in modules:
        if module not in aliases:
            sources[module] = partial(importlib.import_module, module)
    for name in dict.fromkeys(disabled):
        key = aliases.get(name, name)
        if key not in sources and key not in points:
            problems.append(f'disabled_plugins: there is no plugin "{name}"{_hint(name, sources)}')
        sources.pop(key, None)
    return sources


def _register(manager: pluggy.PluginManager, name: str, load: Callable[[], object], problems: list[str]) -> None:
    try:
        plugin = load()
        if manager.is_registered(plugin):
            return
        manager.register(plugin, name)
    except (Exception, SystemExit) as error:
        problems.append(f'plugin "{name}" cannot be loaded: {_cause(error)}')
        if manager.has_plugin(name):
            manager.unregister(name=name)
        return
    callers = manager.get_hookcallers(plugin) or []
    hooks = [f"lb_{kind}" for kind in KINDS]
    # What pluggy's own check_pending() refuses, but all of it at once and with the nearest name.
    problems.extend(
        f'plugin "{name}": there is no hook "{caller.name}"{_hint(caller.name, hooks)}'
        for caller in callers
        if not caller.has_spec()
    )
    if not callers:
        problems.append(
            f'plugin "{name}" implements no hook: mark its functions with @hookimpl (hooks: {", ".join(hooks)})'
        )


def _ask(manager: pluggy.PluginManager, kind: KindName, problems: list[str]) -> Iterator[Supplied]:
    """Call each implementation by itself: so that one that raises does not silence others, and the giver is known."""
    hook = f"lb_{kind}"
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        try:
            answer = implementation.function()
        except Exception as error:
            problems.append(f'plugin "{plugin}": hook "{hook}" failed: {_cause(error)}')
            continue
        if not isinstance(answer, Mapping):
            problems.append(f'plugin "{plugin}": hook "{hook}" must return a mapping of name to Supply, not {answer!r}')
            continue
        for name, supply in answer.items():
            fault = _supply_fault(kind, name, supply)
            if fault is None:
                yield Supplied(plugin, name, supply)
            else:
                problems.append(f'plugin "{plugin}": hook "{hook}": "{name}": {fault}')


def _supply_fault(kind: KindName, name: object, supply: Any) -> str | None:
    if not isinstance(name, str) or not name:
        return "a name must be a string, and not empty"
    if name in KINDS[kind].reserved:
        return "this name is reserved"
    if not isinstance(supply, Supply):
        return f"must be a Supply, not {supply!r}"
    if not callable(supply.build):
        return f"build must be callable, not {supply.build!r}"
    shape: object = supply.options
    if not (isinstance(shape, type) and issubclass(shape, Options)):
        return f"options must be a subclass of Options, not {shape!r}"
    if supply.mode not in ("tcp", "http", None):
        return f'mode must be "tcp", "http" or None, not {supply.mode!r}'
    return None


def _merge(kind: KindName, found: Sequence[Supplied], problems: list[str]) -> dict[str, Supplied]:
    merged: dict[str, Supplied] = {}
    for one in found:
        other = merged.setdefault(one.name, one)
        if other is not one:
            problems.append(
                f'{KINDS[kind].noun} "{one.name}" is supplied twice, by plugin "{other.plugin}"'
                f' and plugin "{one.plugin}": disable one of them'
            )
    return merged


def _with_option(where: str, supplied: Supplied, problem: str) -> str:
    """Say where a problem is that a plugin has found: at the option that it begins with, if it does."""
    match = _OPTION.match(problem)
    if match is not None and match[1] in {
        field.encode_name for field in msgspec.structs.fields(supplied.supply.options)
    }:
        return f'{where}.{match[1]}{match[2]}: plugin "{supplied.plugin}": {problem[match.end() :]}'
    return f'{where}: plugin "{supplied.plugin}": {problem}'


def _faults(interface: InterfaceClass, built: object) -> Iterator[str]:
    """Say what keeps ``built`` from satisfying ``interface``, in a plugin author's words."""
    invalid: Sequence[Exception] = ()
    try:
        verifyObject(interface, built)
    except exceptions.Invalid as error:
        invalid = getattr(error, "exceptions", (error,))  # several come wrapped in a MultipleInvalid
    for one in invalid:
        if isinstance(one, exceptions.BrokenImplementation):
            yield f"it lacks {_member(one.name)}"
        elif isinstance(one, exceptions.BrokenMethodImplementation):
            yield f"its {_member(one.method)} {one.mess.removeprefix('implementation ')}"
        else:
            yield f"its class is not marked @implementer({interface.__name__})"
    if not invalid and interface is IPolicy and built.stage not in (Stage.ADMISSION, Stage.POLICY):  # type: ignore[attr-defined]
        yield "its attribute stage must be Stage.ADMISSION or Stage.POLICY"


def _member(member: Any) -> str:
    signature = member.getSignatureString() if isinstance(member, Method) else None  # type: ignore[no-untyped-call]
    name = getattr(member, "__name__", member)
    return f"attribute {name}" if signature is None else f"method {name}{signature}"


def _cause(error: BaseException) -> str:
    """Tell an exception in one line, with the last place outside of Python's import machinery."""
    if isinstance(error, ConfigError):
        return "; ".join(error.problems)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _home(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'an unknown distribution'} ({point.value})"


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return "" if near is None else f'; did you mean "{near}"?'
