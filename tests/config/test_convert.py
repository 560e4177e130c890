"""The walk from plain values to structs, as a plugin's options see it."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from twisted_lb.api import Options
from twisted_lb.config.convert import convert, join
from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration, Size
from twisted_lb.errors import ConfigError


class Colour(enum.Enum):
    """An option's fixed values."""

    RED = "red"


class Inner(Options, frozen=True):
    """A table within the options."""

    depth: int


class Everything(Options, frozen=True):
    """One option of each kind."""

    count: Annotated[int, Meta(ge=1)] = 1
    share: float = 0.5
    wait: Duration | None = Duration(1)
    waits: dict[str, Duration] = msgspec.field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    either: int | str = 1
    colour: Colour = Colour.RED
    word: Literal["left", "right"] = "left"
    inner: Inner | None = None
    inners: list[Inner] = msgspec.field(default_factory=list)
    anything: Any = None
    renamed: int = msgspec.field(default=1, name="re-named")


def options(**given: Any) -> tuple[Everything, list[str]]:
    value, problems = convert(given, Everything, "lb.toml: frontends.web.policies[0]")
    return value, list(problems)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"count": 3}, "count", 3),
        ({"share": 1}, "share", 1.0),
        ({"wait": "off"}, "wait", None),
        ({"wait": "250ms"}, "wait", Duration(0.25)),
        ({"waits": {"a": "1m"}}, "waits", {"a": Duration(60)}),
        ({"pair": [2, "b"]}, "pair", (2, "b")),
        ({"either": "b"}, "either", "b"),
        ({"colour": "red"}, "colour", Colour.RED),
        ({"word": "right"}, "word", "right"),
        ({"inner": {"depth": 2}}, "inner", Inner(depth=2)),
        ({"inners": [{"depth": 2}]}, "inners", [Inner(depth=2)]),
        ({"anything": {"a": [1]}}, "anything", {"a": [1]}),
        ({"re-named": 2}, "renamed", 2),
    ],
)
def test_each_kind_of_option_arrives_typed(given: dict[str, Any], name: str, expected: Any) -> None:
    value, problems = options(**given)
    assert problems == []
    assert getattr(value, name) == expected
    assert type(getattr(value, name)) is type(expected)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"count": 0}, "count: expected an integer >= 1, got 0"),
        ({"share": "much"}, "share: expected a number, got a string"),
        ({"wait": 3}, 'wait: 3 has no unit: write "3s"'),
        ({"wait": "3"}, 'wait: 3 has no unit: write "3s"'),
        ({"waits": {"a b": "soon"}}, 'waits."a b": "soon" is not a duration: expected a number and a unit'),
        ({"pair": [2, 3]}, "pair[1]: expected a string, got an integer"),
        ({"either": 1.5}, "either: expected an integer or a string, got a number"),
        ({"colour": "blue"}, "colour: invalid enum value 'blue'"),
        ({"word": "rigth"}, 'word: "rigth" is not possible here; did you mean "right"?'),
        ({"inner": {"dept": 2}}, 'inner.dept: unknown key; did you mean "depth"?'),
        ({"inners": [{"depth": 2}, {"depth": []}]}, "inners[1].depth: expected an integer, got a list"),
        ({"renamed": 2}, 'renamed: unknown key; did you mean "re-named"?'),
        ({"maxconn": 2}, 'maxconn: unknown key; the keys here are "count", "share", '),
    ],
)
def test_each_wrong_option_is_reported_with_its_key(given: dict[str, Any], problem: str) -> None:
    problems = options(**given)[1]
    assert len(problems) == 1
    assert problems[0].startswith(f"lb.toml: frontends.web.policies[0].{problem}")


def test_all_wrong_options_are_reported() -> None:
    assert len(options(count=0, word=1, inners=[{}, {}], other=1)[1]) == 5


def test_options_for_a_supply_without_any_are_unknown() -> None:
    problems = convert({"a": 1}, Options, "lb.toml: backends.app.balance")[1]
    assert problems == ["lb.toml: backends.app.balance.a: unknown key; no keys are known here"]


class Judging(Options, frozen=True):
    """Options that check themselves."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.low < 0:
            raise ConfigError("low is negative", "and that is bad")


def test_a_struct_may_judge_itself() -> None:
    def problems(low: Any) -> list[str]:
        return list(convert({"low": low, "high": 3}, Judging, "lb.toml: a")[1])

    assert problems(3) == []
    assert problems(4) == ["lb.toml: a: low is above high"]
    assert problems(-1) == ["lb.toml: a: low is negative", "lb.toml: a: and that is bad"]


def test_a_struct_does_not_judge_itself_when_a_field_is_wrong() -> None:
    assert convert({"low": "x", "high": 3}, Judging, "a")[1] == ["a.low: expected an integer, got a string"]


class Tagged(Options, frozen=True, tag="left"):
    """One of a tagged union."""

    depth: int


class HoldsTagged(Options, frozen=True):
    """Options with a tagged struct among them."""

    choice: Tagged


def test_a_tagged_struct_is_msgspecs_alone() -> None:
    value, problems = convert({"choice": {"type": "left", "depth": 1}}, HoldsTagged, "a")
    assert (value, list(problems)) == (HoldsTagged(choice=Tagged(depth=1)), [])
    assert convert({"choice": {"type": "left"}}, HoldsTagged, "a")[1] == [
        'a.choice: object missing required field "depth"'
    ]


class Short(Section, frozen=True):
    """A table that a string may stand for."""

    short_form = "name"

    name: str


def test_a_string_stands_for_a_table_that_has_a_short_form() -> None:
    assert convert("a", Short, "")[0] == Short(name="a")
    assert convert("a", Inner, "x")[1] == ["x: expected a table, got a string"]


@pytest.mark.parametrize(
    ("where", "key", "expected"),
    [
        ("lb.toml: ", "frontends", "lb.toml: frontends"),
        ("", "frontends", "frontends"),
        ("a", "b-c_1", "a.b-c_1"),
        ("a", "b.c", 'a."b.c"'),
        ("a", 'b"\n', 'a."b\\"\\n"'),
        ("a", "", 'a.""'),
        ("a", "ü", 'a."\\xfc"'),
    ],
)
def test_a_key_is_spelt_as_toml_would(where: str, key: str, expected: str) -> None:
    assert join(where, key) == expected


class Either(Options, frozen=True):
    """Options with a table or something else in one place."""

    switch: bool | Inner = False
    maybe: bool | Inner | None = None
    never: Literal[False] | Short = False
    word: Literal["low", "high"] | Inner = "low"
    many: list[Inner] | Inner = msgspec.field(default_factory=list)
    count: int | str | Inner = 1
    wait: Duration | Inner = Duration(1)
    room: Annotated[Size, Meta(ge=16, le=1024)] = Size(16)
    rooms: tuple[Size, ...] = ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"switch": True}, Either(switch=True)),
        ({"switch": {"depth": 2}}, Either(switch=Inner(depth=2))),
        ({"maybe": {"depth": 2}}, Either(maybe=Inner(depth=2))),
        ({"never": False}, Either(never=False)),
        ({"never": "a"}, Either(never=Short(name="a"))),
        ({"never": {"name": "a"}}, Either(never=Short(name="a"))),
        ({"word": "high"}, Either(word="high")),
        ({"word": {"depth": 2}}, Either(word=Inner(depth=2))),
        ({"many": {"depth": 2}}, Either(many=Inner(depth=2))),
        ({"many": [{"depth": 2}]}, Either(many=[Inner(depth=2)])),
        ({"count": 3}, Either(count=3)),
        ({"count": "a"}, Either(count="a")),
        ({"count": {"depth": 2}}, Either(count=Inner(depth=2))),
        ({"wait": "2s"}, Either(wait=Duration(2))),
        ({"room": "1KiB"}, Either(room=Size(1024))),
        ({"rooms": ["1B", "1MiB"]}, Either(rooms=(Size(1), Size(1048576)))),
    ],
)
def test_the_kind_of_a_value_says_which_of_several_it_is(given: dict[str, Any], expected: Either) -> None:
    assert convert(given, Either, "a") == (expected, [])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"switch": 1}, "switch: expected true, false or a table, got an integer"),
        ({"switch": "yes"}, "switch: expected true, false or a table, got a string"),
        ({"switch": {"dept": 2}}, 'switch.dept: unknown key; did you mean "depth"?'),
        ({"switch": {}}, "switch.depth: is missing"),
        ({"never": True}, "never: expected false, a string or a table, got true"),
        ({"never": 0}, "never: expected false, a string or a table, got an integer"),
        ({"never": {"name": 3}}, "never.name: expected a string, got an integer"),
        ({"word": "hihg"}, 'word: "hihg" is not possible here; did you mean "high"?'),
        ({"word": 3}, 'word: expected "low", "high" or a table, got an integer'),
        ({"many": [{"depth": "a"}]}, "many[0].depth: expected an integer, got a string"),
        ({"many": "a"}, "many: expected a list or a table, got a string"),
        ({"count": True}, "count: expected an integer, a string or a table, got true"),
        ({"wait": 2}, 'wait: 2 has no unit: write "2s"'),
        ({"wait": []}, "wait: expected a duration or a table, got a list"),
        ({"room": 16}, 'room: 16 has no unit: write "16B"'),
        ({"room": "15B"}, 'room: "15B" is too little: the least is "16B"'),
        ({"room": "2KiB"}, 'room: "2KiB" is too much: the most is "1KiB"'),
        ({"rooms": ["1B", "1"]}, 'rooms[1]: 1 has no unit: write "1B"'),
    ],
)
def test_what_is_none_of_several_is_told_which_there_are(given: dict[str, Any], problem: str) -> None:
    found = convert(given, Either, "a")[1]
    assert len(found) == 1
    assert found[0].startswith(f"a.{problem}")


class Listed(Options, frozen=True):
    """Options that are lists."""

    one: tuple[str, ...] = ()
    other: tuple[str, ...] | None = None


@pytest.mark.parametrize("option", ["one", "other"])
def test_one_entry_where_a_list_is_meant_is_told_with_how_a_list_is_written(option: str) -> None:
    (found,) = convert({option: "x"}, Listed, "a")[1]
    assert found == f'a.{option}: expected a list, got a string: write ["x"]'
    (inner,) = convert({option: ["x", 5]}, Listed, "a")[1]
    assert inner == f"a.{option}[1]: expected a string, got an integer"
