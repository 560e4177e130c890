"""The model against its documentation for operators: the same keys, the same defaults, and examples that load."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

from twisted_lb.config import model
from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Config
from twisted_lb.config.policies import Rule
from twisted_lb.config.section import Section
from twisted_lb.config.shapes import alternatives, is_table, shape_of
from twisted_lb.config.units import Duration, Size, spell_duration, spell_size
from twisted_lb.config.uses import Use
from twisted_lb.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| key \| type \| default \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
DOCUMENTED: dict[str, str] = dict(ROW.findall("".join(TABLE.findall(PAGE))))


def settings(table: type[Section], prefix: str = "") -> Iterator[tuple[str, msgspec.structs.FieldInfo]]:
    """Every key of the file that holds a value, with the model's field; ``NAME`` and ``[]`` for what repeats."""
    for field in msgspec.structs.fields(table):
        if field.name in ("options", "where", "folder") and issubclass(table, Use):
            continue
        key, core = prefix + field.encode_name, shape_of(field.type).core
        if parts := alternatives(core):
            yield key, field
            yield from settings(parts[1], f"{key}.")
        elif get_origin(core) is dict and is_table(shape_of(get_args(core)[1]).core):
            yield from settings(shape_of(get_args(core)[1]).core, f"{key}.NAME.")
        elif core in (list[model.Bind], list[model.Route]):
            yield key, field
            yield from settings(get_args(core)[0], f"{key}[].")
        elif field.name == "policies":
            yield key, field
            yield from settings(Rule, f"{key}[].")
        elif is_table(core):
            if issubclass(core, Use):
                yield key, field
            if core is not Use:
                yield from settings(core, f"{key}.")
        else:
            yield key, field


SETTINGS = dict(settings(Config))


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(DOCUMENTED) == set(SETTINGS)
    assert len(SETTINGS) > 40


@pytest.mark.parametrize("key", SETTINGS)
def test_the_documented_default_is_the_models(key: str) -> None:
    field, documented = SETTINGS[key], DOCUMENTED[key].strip()
    if field.required:
        assert documented == "required"
    elif isinstance(field.default, Use):
        assert documented == f'`"{field.default.use}"`'
    elif isinstance(field.default, Duration):
        assert documented == f'`"{spell_duration(field.default)}"`'
    elif isinstance(field.default, Size):
        assert documented == f'`"{spell_size(field.default)}"`'
    elif isinstance(field.default, bool):
        assert documented == f"`{str(field.default).lower()}`"
    elif isinstance(field.default, str):
        assert documented == f'`"{field.default}"`'
    elif isinstance(field.default, int):
        assert documented == f"`{field.default}`"
    elif field.default is msgspec.UNSET and not key.startswith("defaults."):
        assert documented == "inherited"
    else:
        assert not documented.startswith('`"')


def test_every_setting_has_a_heading_of_its_name_or_stands_below_its_tables() -> None:
    headings = set(re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE))
    words = {key.removeprefix("defaults.").split(".")[-1] for key in SETTINGS if "[]" not in key}
    assert words - headings == {"use", "path", "address", "weight"}


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert links
    assert links <= anchors


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``below`` with the tables and values of ``above`` put over it."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_every_example_loads_within_a_small_file(example: str) -> None:
    around = """
        frontends.web = { bind = "*:1", backend = "app" }
        frontends.games = { bind = "*:2", backend = "play" }
        backends.app.servers.a = "localhost:80"
        backends.play.servers.a = "localhost:81"
    """
    data = tomllib.loads(example)
    assert load_dict(merged(tomllib.loads(around.replace("        ", "")), data), "example")


@pytest.mark.parametrize("message", re.findall(r"^lb\.toml: (.*)$", PAGE, re.MULTILINE))
def test_the_messages_shown_are_the_ones_given(message: str) -> None:
    data = """
        process = { graceful_stop = 30 }
        frontends.web = { bnd = "*:1", backend = "ap" }
        backends.app.servers.a = "localhost"
    """
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_dict(tomllib.loads(data.replace("        ", "")), "lb.toml")
