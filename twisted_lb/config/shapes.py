"""What an annotation of the model, or of a plugin's options, says about the value; ``convert`` and ``schema`` ask."""

from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, UnsetType


@dataclass(frozen=True, slots=True)
class Shape:
    """An annotation taken apart.

    ``core``: the type without ``Annotated``, ``None`` and ``UnsetType``. ``metas``: its constraints. ``optional``:
    whether ``None`` is among its values, which the file spells by leaving the key out, or ``"off"`` for a duration.
    """

    core: Any
    metas: tuple[Meta, ...] = ()
    optional: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def annotation(self) -> Any:
        """The core with its constraints, as msgspec understands it."""
        return Annotated[self.core, *self.metas] if self.metas else self.core

    @property
    def min_length(self) -> int:
        """The least number of entries that a list or table must have."""
        return max((meta.min_length or 0 for meta in self.metas), default=0)


def shape_of(annotation: Any) -> Shape:
    """Take an annotation apart."""
    metas: tuple[Meta, ...] = ()
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *found = get_args(annotation)
            metas = (*(meta for meta in found if isinstance(meta, Meta)), *metas)
            continue
        members = get_args(annotation) if is_union(annotation) else ()
        real = [member for member in members if member not in (type(None), UnsetType)]
        if len(real) == len(members) or not real:
            break
        optional = optional or type(None) in members
        annotation = Union[tuple(real)]  # noqa: UP007  built at run time
    extra: dict[str, Any] = {}
    for meta in metas:
        extra.update(meta.extra or {})
    return Shape(annotation, metas, optional, extra)


def is_union(annotation: Any) -> bool:
    """Whether it is ``A | B`` or ``Union[A, B]``."""
    return get_origin(annotation) in (Union, UnionType)


def alternatives(core: Any) -> tuple[Any, Any] | None:
    """Part ``Other | Table``: what is beside the one table of a union, and the table; ``None`` for all other types."""
    members = get_args(core) if is_union(core) else ()
    tables = [member for member in members if is_table(shape_of(member).core)]
    if len(tables) != 1 or len(members) < 2:
        return None
    beside = tuple(member for member in members if member is not tables[0])
    return Union[beside], tables[0]  # noqa: UP007  built at run time


def tables_in(core: Any) -> tuple[Any, ...]:
    """Return the tables of a union of nothing else, which their keys tell apart; none for all other types."""
    members = get_args(core) if is_union(core) else ()
    return members if len(members) > 1 and all(is_table(member) for member in members) else ()


def is_table(core: Any) -> bool:
    """Whether it is a struct that the file writes as a plain table; tagged and array-like ones are msgspec's alone."""
    if not (isinstance(core, type) and issubclass(core, msgspec.Struct)):
        return False
    config = core.__struct_config__
    return config.tag is None and not config.array_like
