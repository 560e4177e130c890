"""What all tables of the file have in common."""

from collections.abc import Iterator

import msgspec
import pytest

from twisted_lb.config.model import Config
from twisted_lb.config.section import Section


def below(table: type[Section]) -> Iterator[type[Section]]:
    for one in table.__subclasses__():
        if one.__module__.startswith("twisted_lb."):  # tests make tables too
            yield one
            yield from below(one)


TABLES = list(below(Section))


def test_the_whole_file_is_one() -> None:
    assert Config in TABLES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_table_is_frozen_and_strict_about_its_keys(table: type[msgspec.Struct]) -> None:
    assert table.__struct_config__.frozen
    assert table.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_a_short_form_stands_for_a_field(table: type[Section]) -> None:
    assert not table.short_form or table.short_form in table.__struct_encode_fields__
