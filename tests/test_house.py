"""The house is in order: who may import whom, what is tested where, and what the documentation must name."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mmdb_writer import MMDBWriter

import twisted_lb
from twisted_lb import hookspecs
from twisted_lb.config.load import load_dict
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import KINDS, KindName, Supplied, load_plugins
from twisted_lb.testing import make_runtime

ROOT = Path(__file__).parents[1]
MAP = re.findall(r"^- ``(\w+)``", twisted_lb.__doc__ or "", re.MULTILINE)
PACKAGE = sorted(path for path in (ROOT / "twisted_lb").rglob("*.py"))
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("*.py"))
DROPINS = [ROOT / "twisted" / "plugins" / f"twisted_lb_{name}.py" for name in ("dropin", "endpoints")]
HOOKS = [node for node in ast.parse(Path(hookspecs.__file__).read_text()).body if isinstance(node, ast.FunctionDef)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """Name the entry of the map that a file of the package belongs to."""
    return path.relative_to(ROOT / "twisted_lb").parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, at any depth, under ``TYPE_CHECKING`` too."""
    package = ["twisted_lb_plugins" if path.parent.name == "plugins" else "twisted_lb"]
    if path.is_relative_to(ROOT / "twisted_lb"):
        package += path.parent.relative_to(ROOT / "twisted_lb").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def ours(path: Path) -> Iterator[list[str]]:
    """Yield the parts of each import that is of the package or of the bundled plugins."""
    names = (name.split(".") for name in imports_of(path))
    yield from (parts for parts in names if parts[0] in ("twisted_lb", "twisted_lb_plugins", "plugins"))


# Imports


@pytest.mark.parametrize("path", [path for path in PACKAGE if room_of(path) != "__init__"], ids=relative)
def test_imports_only_ever_point_up_the_map(path: Path) -> None:
    room = room_of(path)
    assert room in MAP, f"the docstring of twisted_lb/__init__.py does not name {room}"
    allowed = {*MAP[: MAP.index(room) + 1], "__version__"}
    wrong = [".".join(parts) for parts in ours(path) if parts[0] != "twisted_lb" or parts[1] not in allowed]
    assert not wrong, f"{relative(path)} must not import {wrong}"


@pytest.mark.parametrize("room", MAP)
def test_everything_on_the_map_exists(room: str) -> None:
    assert (ROOT / "twisted_lb" / f"{room}.py").exists() or (ROOT / "twisted_lb" / room).is_dir()


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_bundled_plugins_import_nothing_of_ours_but_the_api(path: Path) -> None:
    wrong = [".".join(parts) for parts in ours(path) if parts[:2] != ["twisted_lb", "api"]]
    assert not wrong, f"{relative(path)} must not import {wrong}"


@pytest.mark.parametrize("path", [path for path in PACKAGE if path.parent.name != "testing"], ids=relative)
def test_the_front_desk_is_for_guests(path: Path) -> None:
    # What it hands out stands in modules of its own; only plugins, and the kit that tests them, ask for it here.
    assert ["twisted_lb", "api"] not in [parts[:2] for parts in ours(path)]


OUTSIDE_THE_KIT = [path for path in [*PACKAGE, *PLUGINS, *DROPINS] if path.parent.name != "testing"]


@pytest.mark.parametrize("path", OUTSIDE_THE_KIT, ids=relative)
def test_nothing_imports_the_test_kit(path: Path) -> None:
    assert ["twisted_lb", "testing"] not in [parts[:2] for parts in ours(path)]


def test_the_drop_in_folders_stay_open_to_other_packages() -> None:
    # An __init__.py in either would hide Twisted's own folder, and every other package's plugins in it.
    assert sorted((ROOT / "twisted").rglob("*.py")) == DROPINS


# Tests


@pytest.mark.parametrize("path", [path for path in [*PACKAGE, *PLUGINS] if path.name != "__init__.py"], ids=relative)
def test_every_module_has_a_mirror_test(path: Path) -> None:
    folder = path.parent.relative_to(ROOT / "twisted_lb" if path in PACKAGE else ROOT)
    mirror = ROOT / "tests" / folder / f"test_{path.name}"
    assert mirror.exists(), f"{relative(path)} has no {relative(mirror)}"


# Hooks


def implementations(hook: str) -> list[Path]:
    """Return the bundled plugins that implement a hook."""

    def implements(node: ast.AST) -> bool:
        if not (isinstance(node, ast.FunctionDef) and node.name == hook):
            return False
        return any("hookimpl" in ast.unparse(decorator) for decorator in node.decorator_list)

    return [path for path in PLUGINS if any(implements(node) for node in ast.parse(path.read_text()).body)]


def section(page: str, heading: str, naming: str = "") -> str:
    """Return what stands under a ``##`` heading of a page of the reference; of several, under that which names this."""
    text = (ROOT / "docs" / "reference" / page).read_text()
    found: list[str] = re.findall(rf"^## `{re.escape(heading)}`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    found = [one for one in found if naming in one]
    assert found, f"docs/reference/{page} has no heading: ## `{heading}`"
    return found[0]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_every_hook_is_documented_with_its_signature(hook: ast.FunctionDef) -> None:
    assert hook.returns is not None
    assert f"def {hook.name}({ast.unparse(hook.args)}) -> {ast.unparse(hook.returns)}: ..." in section(
        "hooks.md", hook.name
    )


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_every_hook_says_when_it_runs_how_answers_combine_what_it_gives_how_it_fails_and_what_it_costs(
    hook: ast.FunctionDef,
) -> None:
    fields = re.findall(r"^(\w+): ", ast.get_docstring(hook) or "", re.MULTILINE)
    assert fields == ["Called", "Combined", "Gives", "Fails", "Cost"]
    documented = " ".join(section("hooks.md", hook.name).split())
    for field in fields:
        assert f"**{field}**:" in documented


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_every_hook_has_a_bundled_plugin_and_a_test_of_it(hook: ast.FunctionDef) -> None:
    users = implementations(hook.name)
    assert users, f"no bundled plugin implements {hook.name}"
    assert any((ROOT / "tests" / "plugins" / f"test_{path.name}").exists() for path in users)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_documentation_of_a_hook_names_the_bundled_plugins_that_use_it(hook: ast.FunctionDef) -> None:
    text = section("hooks.md", hook.name)
    for path in implementations(hook.name):
        assert f"`{path.stem}`" in text


# Bundled plugins

SUPPLIED: list[tuple[KindName, Supplied]] = [
    (kind, supplied)
    for kind in KINDS
    for supplied in load_plugins().supplies(kind).values()
    if supplied.plugin in {path.stem for path in PLUGINS}
]


def test_every_bundled_plugin_is_an_entry_point_and_supplies_something() -> None:
    assert {supplied.plugin for _, supplied in SUPPLIED} == {
        path.stem for path in PLUGINS if path.name != "__init__.py"
    }


@pytest.mark.parametrize(("kind", "supplied"), SUPPLIED, ids=lambda one: getattr(one, "name", one))
def test_every_bundled_supply_is_documented_with_its_options(kind: KindName, supplied: Supplied) -> None:
    text = section("plugins.md", supplied.name, f"`{supplied.plugin}`")
    assert f"`{supplied.plugin}`" in text
    assert KINDS[kind].noun in text
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert documented == [field.encode_name for field in msgspec.structs.fields(supplied.supply.options)]


BASE: dict[str, Any] = {
    "frontends": {"web": {"bind": ["127.0.0.1:8080"], "backend": "app"}},
    "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}},
}


def merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: merge(base[key], value) for key, value in more.items() if isinstance(base.get(key), dict)}
    return base | more | both


def uses_in(value: Any, key: str = "") -> Iterator[tuple[KindName, Use]]:
    """Yield every ``Use`` of a configuration with its kind, which the key of the file tells."""
    if isinstance(value, Use):
        yield next(kind for kind in KINDS if kind.startswith(key) or kind.endswith(f"_{key}s")), value
    elif isinstance(value, AcceptProxy | SendProxy):  # they name codecs by text: codecs are named, never given options
        names = value.versions if isinstance(value, AcceptProxy) else [value.version]
        yield from (("proxy_codecs", Use(use=name)) for name in names)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from uses_in(getattr(value, name), name)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from uses_in(item, key)


@pytest.fixture(scope="module")
def files_of_the_examples(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the files that examples name."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("GeoLite2-Country.mmdb", "GeoLite2-ASN.mmdb"):
        MMDBWriter(6, name).to_db_file(str(folder / name))
    return str(folder)


@pytest.mark.parametrize(("kind", "supplied"), SUPPLIED, ids=lambda one: getattr(one, "name", one))
def test_every_bundled_supply_has_an_example_that_builds_it(
    kind: KindName, supplied: Supplied, files_of_the_examples: str
) -> None:
    host = load_plugins(runtime=make_runtime())
    examples = re.findall(r"```toml\n(.*?)```", section("plugins.md", supplied.name, f"`{supplied.plugin}`"), re.DOTALL)
    built = [
        host.build(*one).name
        for example in examples
        for one in uses_in(load_dict(merge(BASE, tomllib.loads(example)), "plugins.md", files_of_the_examples))
        if one[0] == kind
    ]
    assert supplied.name in built
