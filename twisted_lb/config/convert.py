"""From plain values, as a TOML file holds them, to frozen structs; every problem is found, not only the first.

``msgspec.convert`` stops at the first error and cannot suggest names, so tables and lists are walked here, by the
structs' annotations, and msgspec converts only the leaves.
"""

import os.path
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from twisted_lb.config.hints import nearest, quoted, unknown_key
from twisted_lb.config.section import Section
from twisted_lb.config.shapes import Shape, alternatives, is_table, is_union, shape_of, tables_in
from twisted_lb.config.units import OFF, Duration, Size, parse_duration, parse_size, spell_size
from twisted_lb.config.uses import Use
from twisted_lb.errors import ConfigError

INVALID: Any = type("Invalid", (), {"__repr__": lambda self: "INVALID"})()
"""Stands where a value was wrong, so that ``checks`` can still judge the rest of its ``Section``."""

T = TypeVar("T", bound=msgspec.Struct)

_TYPE_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def convert(data: Any, struct: type[T], where: str, folder: str = "") -> tuple[T, Sequence[str]]:
    """Convert a table into ``struct``: the whole file into ``Config``, a ``Use``'s options into a plugin's struct.

    Args: ``where``, the file and the dotted key of ``data``, begins each problem; ``"lb.toml: "`` if there is no key.
        ``folder``: where relative ``FilePath`` values start; "" leaves them alone.
    Returns: the value and the problems; with problems the value may hold ``INVALID`` in places.
    """
    walk = _Walk(folder)
    value = walk.value(data, shape_of(struct), where)
    return value, walk.problems


def join(where: str, key: object) -> str:
    """Put a key behind what leads to it, quoted as TOML would."""
    spelled = str(key)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", spelled):
        spelled = '"' + spelled.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    return f"{where}{spelled}" if where == "" or where.endswith(" ") else f"{where}.{spelled}"


class _Walk:
    """One conversion: the problems found so far."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def wrong(self, where: str, what: str) -> Any:
        """Note a problem; returns what stands in for the value."""
        self.problems.append(f"{where.rstrip(': ')}: {what}")
        return INVALID

    def value(self, data: Any, shape: Shape, where: str) -> Any:
        """Convert ``data`` as ``shape`` demands."""
        core, origin = shape.core, get_origin(shape.core)
        if is_table(core):
            return self.table(data, core, where)
        if kinds := tables_in(core):
            return self.one_of(data, kinds, where)
        if core is dict or origin is dict:
            return self.mapping(data, shape, where)
        if core is list or origin is list:
            return self.sequence(data, shape, where)
        if core is Duration:
            return self.duration(data, shape, where)
        if core is Size:
            return self.size(data, shape, where)
        if origin is Literal:
            return self.choice(data, get_args(core), where)
        if parts := alternatives(core):
            return self.either(data, *parts, where)
        return self.leaf(data, shape, where)

    def either(self, data: Any, other: Any, table: Any, where: str) -> Any:
        """Convert what may be a table or something else; the kind of ``data`` says which is meant."""
        found = next((member for member in (*_members(other), table) if _may_be(data, member)), None)
        if found is None:
            *first, last = dict.fromkeys(word for member in (*_members(other), table) for word in _words(member))
            got = str(data).lower() if isinstance(data, bool) else _kind(data)
            return self.wrong(where, f"expected {', '.join(first)} or {last}, got {got}")
        # The whole of what is beside the table, so that msgspec weighs "int | str" as it always does.
        return self.value(data, shape_of(table if found is table else other), where)

    def table(self, data: Any, struct: type[msgspec.Struct], where: str) -> Any:
        """Convert a table, or the string that is its short form, into a struct."""
        short_form = getattr(struct, "short_form", "")
        if short_form and isinstance(data, str):
            data = {short_form: data}
        if not isinstance(data, dict):
            expected = "expected a string or a table" if short_form else "expected a table"
            return self.wrong(where, f"{expected}, got {_kind(data)}")
        before = len(self.problems)
        values = self.use_fields(data, struct, where) if issubclass(struct, Use) else self.fields(data, struct, where)
        if len(self.problems) > before and not issubclass(struct, Section):
            return INVALID
        return self.build(struct, values, where)

    def one_of(self, data: Any, kinds: Sequence[Any], where: str) -> Any:
        """Convert one of several kinds of tables; a key that only one of them has tells which is meant."""
        first, *others = kinds
        if not isinstance(data, dict) or first.short_form in data:
            return self.table(data, first, where)
        known = [first.short_form, *(key for kind in others for key in kind.told_by)]
        meant = {nearest(str(key), known) for key in data}
        for kind in others:
            if any(key in data or key in meant for key in kind.told_by):
                return self.table(data, kind, where)
        if first.short_form in meant:
            return self.table(data, first, where)
        return self.wrong(where, f"what is it? it takes one of {quoted(known)}")

    def build(self, struct: type[msgspec.Struct], values: dict[str, Any], where: str) -> Any:
        """Call the struct; a plugin's may have checks of its own in ``__post_init__``."""
        try:
            return struct(**values)
        except ConfigError as error:
            for problem in error.problems:
                self.wrong(where, problem)
        except (TypeError, ValueError) as error:
            self.wrong(where, str(error))
        return INVALID

    def fields(
        self, data: dict[Any, Any], struct: type[msgspec.Struct], where: str, missing: str = "is missing"
    ) -> dict[str, Any]:
        """Convert a table's keys. ``missing``: what is said of one that must be there."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        values: dict[str, Any] = {}
        for key, item in data.items():
            field = fields.get(key)
            if field is None:
                self.wrong(join(where, key), unknown_key(struct, str(key), fields))
                continue
            converted = self.value(item, shape_of(field.type), join(where, key))
            if converted is not INVALID or field.required:
                values[field.name] = converted
        misspelt = {nearest(str(key), fields) for key in data if key not in fields}
        for key, field in fields.items():
            if field.required and key not in data and key in misspelt:
                values[field.name] = INVALID
            elif field.required and key not in data:
                values[field.name] = self.wrong(join(where, key), missing)
        return values

    def use_fields(self, data: dict[Any, Any], struct: type[Use], where: str) -> dict[str, Any]:
        """Convert the keys that are the proxy's; the rest are options for the plugin host to check."""
        own = set(struct.__struct_fields__) - {"options", "where", "folder"}
        # An entry that could have been an AnyOf does not come here.
        missing = "is missing; an any_of cannot stand here, within another entry" if "any_of" in data else "is missing"
        values = self.fields({key: item for key, item in data.items() if key in own}, struct, where, missing)
        values["options"] = {key: item for key, item in data.items() if key not in own}
        return {**values, "where": where, "folder": self.folder}

    def mapping(self, data: Any, shape: Shape, where: str) -> Any:
        """Convert a table whose keys the operator chooses."""
        if not isinstance(data, dict):
            return self.wrong(where, f"expected a table with one key per name, got {_kind(data)}")
        key_type, value_type = get_args(shape.core) or (str, Any)
        if len(data) < shape.min_length:
            return self.wrong(where, "is empty; at least one entry is needed")
        key_shape, value_shape = shape_of(key_type), shape_of(value_type)
        converted: dict[Any, Any] = {}
        for key, item in data.items():
            inner = join(where, key)
            converted[self.value(key, key_shape, inner)] = self.value(item, value_shape, inner)
        return converted

    def sequence(self, data: Any, shape: Shape, where: str) -> Any:
        """Convert a list; one entry alone stands for a list of one where the annotation says ``single``."""
        if not isinstance(data, list):
            if not (shape.extra.get("single") and isinstance(data, str | dict)):
                return self.wrong(where, f"expected a list, got {_kind(data)}{_list_hint(data, where)}")
            data = [data]
        if len(data) < shape.min_length:
            return self.wrong(where, "is empty; at least one entry is needed")
        item_shape = shape_of((get_args(shape.core) or (Any,))[0])
        return [self.value(item, item_shape, f"{where}[{index}]") for index, item in enumerate(data)]

    def duration(self, data: Any, shape: Shape, where: str) -> Any:
        """Convert a duration; ``"off"`` where the annotation allows ``None``."""
        if shape.optional and data == OFF:
            return None
        try:
            return parse_duration(data)
        except ConfigError as error:
            return self.wrong(
                where, f'{error}, or "off"' if shape.optional and "expected" in str(error) else str(error)
            )

    def size(self, data: Any, shape: Shape, where: str) -> Any:
        """Convert a size, within the annotation's bounds."""
        try:
            size = parse_size(data)
        except ConfigError as error:
            return self.wrong(where, str(error))
        for meta in shape.metas:
            if meta.ge is not None and size < meta.ge:
                return self.wrong(where, f'"{data}" is too little: the least is "{spell_size(int(meta.ge))}"')
            if meta.le is not None and size > meta.le:
                return self.wrong(where, f'"{data}" is too much: the most is "{spell_size(int(meta.le))}"')
        return size

    def choice(self, data: Any, choices: tuple[Any, ...], where: str) -> Any:
        """Convert one of a few fixed values."""
        if type(data) in {type(choice) for choice in choices} and data in choices:
            return data
        if not isinstance(data, str):
            return self.wrong(where, f"expected one of {quoted(map(str, choices))}, got {_kind(data)}")
        meant = nearest(data, map(str, choices))
        hint = f'did you mean "{meant}"?' if meant else f"possible: {quoted(map(str, choices))}"
        return self.wrong(where, f'"{data}" is not possible here; {hint}')

    def leaf(self, data: Any, shape: Shape, where: str) -> Any:
        """Let msgspec convert what is neither table nor list."""
        try:
            value = msgspec.convert(data, shape.annotation, dec_hook=_custom_type)
        except msgspec.ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            hint = "" if inner or get_origin(shape.core) is not tuple else _list_hint(data, where)
            return self.wrong(where + inner.rstrip("`"), _complaint(what, data, shape) + hint)
        if shape.extra.get("file") and self.folder:
            return os.path.join(self.folder, value)
        return value


def _custom_type(wanted: type[Any], data: Any) -> Any:
    """Convert what msgspec does not know; it turns the ValueError into its own error, with the place."""
    if wanted is Duration or wanted is Size:
        try:
            return parse_duration(data) if wanted is Duration else parse_size(data)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"a configuration file cannot hold a {wanted.__name__}")


_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("an integer", (int,)),
    float: ("a number", (int, float)),
    str: ("a string", (str,)),
    Duration: ("a duration", (str, int, float)),
    Size: ("a size", (str, int)),
    list: ("a list", (list,)),
    tuple: ("a list", (list,)),
    set: ("a list", (list,)),
    frozenset: ("a list", (list,)),
    dict: ("a table", (dict,)),
}
"""How the types of annotations are called, and what a TOML file holds for them."""


def _members(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) if is_union(annotation) else (annotation,)


def _may_be(data: Any, member: Any) -> bool:
    """Whether a value of this kind is worth converting into ``member`` of a union."""
    core = shape_of(member).core
    if get_origin(core) is Literal:
        choices = get_args(core)
        return any(type(data) is type(choice) and (data == choice or isinstance(data, str)) for choice in choices)
    if is_table(core):
        return isinstance(data, dict) or (isinstance(data, str) and bool(getattr(core, "short_form", "")))
    _, types = _KINDS.get(get_origin(core) or core, ("", (object,)))
    return isinstance(data, types) and (bool in types or object in types or not isinstance(data, bool))


def _words(member: Any) -> Sequence[str]:
    """Name the kinds of values that ``member`` of a union takes."""
    core = shape_of(member).core
    if get_origin(core) is Literal:
        return [f'"{choice}"' if isinstance(choice, str) else str(choice).lower() for choice in get_args(core)]
    if is_table(core):
        return ["a string", "a table"] if getattr(core, "short_form", "") else ["a table"]
    word, _ = _KINDS.get(get_origin(core) or core, (str(core), ()))
    return word.split(" or ")


def _kind(data: Any) -> str:
    """Name the kind of a value as TOML does."""
    if data is None:
        return "nothing"
    words = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return words.get(type(data), f"a {type(data).__name__}")


def _list_hint(data: Any, where: str) -> str:
    if isinstance(data, str):
        return f': write ["{data}"]'
    if isinstance(data, dict):
        return f": write [[{where.rpartition(' ')[2]}]]"
    return ""


def _complaint(message: str, data: Any, shape: Shape) -> str:
    """Say what msgspec says in TOML's words, and what was there instead."""
    if isinstance(data, bool):
        got = str(data).lower()  # as TOML spells it
    else:
        got = _quoted(data) if isinstance(data, str) else repr(data) if isinstance(data, int | float) else _kind(data)
    if "expected" in shape.extra:
        return f"expected {shape.extra['expected']}, got {got}"
    message = re.sub(r"`([a-z| ]+)`", lambda match: _type_words(match[1]), message)
    message = message[:1].lower() + message[1:]
    return f"{message}, got {got}" if message.startswith("expected") and "got" not in message else message


def _quoted(text: str) -> str:
    """Spell a text so that it stays on its line."""
    return '"' + "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text) + '"'


def _type_words(types: str) -> str:
    """Translate what msgspec puts between backticks: types, or now and then a name."""
    words = [_TYPE_WORDS.get(word) for word in types.split(" | ")]
    return " or ".join(word for word in words if word) if all(words) else f'"{types}"'
