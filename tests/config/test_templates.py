"""Templates: taken apart once, filled in per connection, and every slip told at the start."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.config.templates import FIELDS, Field, Template, parse_template, render
from twisted_lb.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("{source}", (Field("source"),)),
        ("{source}:{source_port}", (Field("source"), ":", Field("source_port"))),
        ("{learnt.tls.sni}", (Field("learnt.tls.sni"),)),
        ("{{source}}", ("{source}",)),
        ("a{{b}}c", ("a{b}c",)),
        ("{{{bind}}}", ("{", Field("bind"), "}")),
        ("%s $x\n", ("%s $x\n",)),
    ],
)
def test_a_text_is_taken_apart(text: str, parts: Template) -> None:
    assert parse_template(text) == parts


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_filled_in_with_what_it_stands_for(name: str) -> None:
    template = parse_template("<{" + name + "}>")
    assert render(template, {name: 443}.__getitem__) == "<443>"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{sorce}", 'there is no field "sorce"; did you mean "source"?'),
        ("{Source-Port}", 'there is no field "Source-Port"; did you mean "source_port"?'),
        ("{xyzzy}", 'there is no field "xyzzy"; there are "source", "source_port", '),
        ("{}", 'there is no field ""; there are '),
        ("{source!r}", 'there is no field "source!r"; did you mean "source"?'),
        ("{source.__class__}", 'there is no field "source.__class__"'),
        ("{learnt}", 'there is no field "learnt"; did you mean "learnt.NAME"?'),
        ("{learnt.}", '"learnt." is no field: behind "learnt." comes a dotted name'),
        ("{learnt.a..b}", '"learnt.a..b" is no field'),
        ("{learnt.a\n}", "is no field"),
        ("{source", 'the "{" has no partner; for the brace itself write it twice'),
        ("source}", 'the "}" has no partner'),
        ("{a{source}}", 'the "{" has no partner'),
        ("{{{source}}", 'the "}" has no partner'),
    ],
)
def test_what_is_wrong_in_a_text_is_told_with_what_was_meant(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_template(text)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f'"{text}": ')
    assert problem in caught.value.problems[0]


def test_every_unknown_field_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_template("{pear} {source} {bnd}")
    assert ["peer" in caught.value.problems[0], "bind" in caught.value.problems[1]] == [True, True]


def test_a_value_is_never_looked_into() -> None:
    assert render(parse_template("{source}"), lambda name: "{peer}{{") == "{peer}{{"


@given(st.text())
def test_any_text_comes_back_when_its_braces_are_doubled(text: str) -> None:
    template = parse_template(text.replace("{", "{{").replace("}", "}}"))
    assert render(template, lambda name: "?") == text


@given(st.text("{}a.lernt"))
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    with suppress(ConfigError):
        parts = parse_template(text)
        assert not any(isinstance(one, str) and isinstance(other, str) for one, other in pairwise(parts))
