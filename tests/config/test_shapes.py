"""What an annotation says."""

from typing import Annotated, Optional

import pytest
from msgspec import Meta, UnsetType

from twisted_lb.api import Options
from twisted_lb.config.shapes import alternatives, is_table, shape_of


@pytest.mark.parametrize(
    ("annotation", "core", "optional"),
    [
        (int, int, False),
        (int | None, int, True),
        (Optional[int], int, True),  # noqa: UP045  both spellings exist in plugins
        (int | UnsetType, int, False),
        (int | UnsetType | None, int, True),
        (int | str, int | str, False),
        (int | str | None, int | str, True),
        (None, None, False),
    ],
)
def test_none_and_unset_are_taken_off(annotation: object, core: object, optional: bool) -> None:
    shape = shape_of(annotation)
    assert (shape.core, shape.optional) == (core, optional)


def test_constraints_are_found_at_each_depth() -> None:
    inner = Annotated[list[int], Meta(min_length=2, extra={"single": True})]
    shape = shape_of(Annotated[inner | None, Meta(extra={"supplies": "policies"})])
    assert shape.core == list[int]
    assert shape.min_length == 2
    assert shape.extra == {"single": True, "supplies": "policies"}


def test_only_plain_structs_are_tables() -> None:
    class Plain(Options, frozen=True):
        pass

    class Tagged(Options, frozen=True, tag="t"):
        pass

    class Row(Options, frozen=True, array_like=True):
        pass

    assert [is_table(core) for core in (Plain, Tagged, Row, dict, list[int])] == [True, False, False, False, False]


class Table(Options, frozen=True):
    """A table that may be one alternative of several."""


class Other(Options, frozen=True):
    """Another."""


@pytest.mark.parametrize(
    ("annotation", "parts"),
    [
        (bool | Table, (bool, Table)),
        (Table | bool | str, (bool | str, Table)),
        (Annotated[bool | Table | None, Meta()], (bool, Table)),
        (Table, None),
        (Table | None, None),
        (bool | str, None),
        (Table | Other, None),
    ],
)
def test_a_table_is_parted_from_what_may_be_in_its_place(annotation: object, parts: object) -> None:
    assert alternatives(shape_of(annotation).core) == parts
