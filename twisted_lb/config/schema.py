"""The configuration's JSON schema, for editors and for checks outside; plugins' options are part of it.

Source: JSON Schema, draft 2020-12.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from twisted_lb.config.model import Config
from twisted_lb.config.section import Section
from twisted_lb.config.shapes import Shape, alternatives, is_table, shape_of, tables_in
from twisted_lb.config.units import (
    DURATION_PATTERN,
    OFF,
    SIZE_PATTERN,
    Duration,
    Size,
    spell_duration,
    spell_size,
)
from twisted_lb.config.uses import AccessLogUse, TableStoreUse, Use

Supplies = Mapping[str, Mapping[str, type[msgspec.Struct]]]
"""Kind (``balancers``, ``policies``, ``validators``, ``access_logs``, ``observers``) -> name -> type of the options."""

_Schema = dict[str, Any]


def json_schema(supplies: Supplies) -> _Schema:
    """Describe the whole file, the short forms and the options of each supply included.

    A kind without supplies is left open: any name, any options. What spans several settings, such as the name of a
    backend that must exist, and the grammar of addresses are beyond a schema; ``--check`` knows them.
    """
    writer = _Writer(supplies)
    root = writer.schema(shape_of(Config))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "twisted-lb",
        **root,
        "$defs": writer.defs,
    }


class _Writer:
    """One schema being written; ``defs`` collects the tables."""

    def __init__(self, supplies: Supplies) -> None:
        self.supplies = supplies
        self.defs: dict[str, _Schema] = {}

    def schema(self, shape: Shape) -> _Schema:
        """Describe the values of an annotation."""
        core, origin = shape.core, get_origin(shape.core)
        if isinstance(core, type) and issubclass(core, Use):
            return self.use(core, shape.extra["supplies"])
        if is_table(core):
            return self.table(core)
        if kinds := tables_in(core):
            return _one_of([self.schema(Shape(kind, extra=shape.extra)) for kind in kinds])
        if core is dict or origin is dict:
            return self.mapping(shape)
        if core is list or origin is list:
            return self.sequence(shape)
        if core is Duration:
            return _duration(shape)
        if core is Size:
            return _size()
        if parts := alternatives(core):
            return self.either(*parts)
        if origin is Literal:
            return {"enum": list(get_args(core))}
        return self.leaf(shape)

    def either(self, other: Any, table: Any) -> _Schema:
        """Describe ``Other | Table``, in one list of alternatives."""
        return _one_of([self.schema(shape_of(part)) for part in (other, table)])

    def table(self, struct: type[msgspec.Struct]) -> _Schema:
        """Describe a struct under ``$defs``, and its short form beside it."""
        reference = self.define(_name(struct), struct)
        if getattr(struct, "short_form", ""):
            return {"anyOf": [{"type": "string"}, reference]}
        return reference

    def define(self, name: str, struct: type[msgspec.Struct]) -> _Schema:
        """Describe a struct once; a struct that holds itself ends here."""
        if name not in self.defs:
            self.defs[name] = {}
            self.defs[name] = self.object(struct)
        return {"$ref": f"#/$defs/{name}"}

    def object(self, struct: type[msgspec.Struct]) -> _Schema:
        """Describe a struct's keys."""
        fields = msgspec.structs.fields(struct)
        described: _Schema = {
            "type": "object",
            "properties": {field.encode_name: self.field(field) for field in fields},
            "required": [field.encode_name for field in fields if field.required],
            "additionalProperties": False,
        }
        if struct.__doc__:
            described["description"] = struct.__doc__.partition("\n\n")[0].replace("``", "").strip()
        return described

    def field(self, field: msgspec.structs.FieldInfo) -> _Schema:
        """Describe one key, with its default where the file could spell it."""
        schema = self.schema(shape_of(field.type))
        default = field.default
        if isinstance(default, Duration):
            return {**schema, "default": spell_duration(default)}
        if isinstance(default, Size):
            return {**schema, "default": spell_size(default)}
        if isinstance(default, str | int | float):
            return {**schema, "default": default}
        return schema

    def mapping(self, shape: Shape) -> _Schema:
        """Describe a table whose keys the operator chooses."""
        key, value = get_args(shape.core) or (str, Any)
        schema: _Schema = {
            "type": "object",
            "propertyNames": self.schema(shape_of(key)),
            "additionalProperties": self.schema(shape_of(value)),
        }
        return {**schema, "minProperties": shape.min_length} if shape.min_length else schema

    def sequence(self, shape: Shape) -> _Schema:
        """Describe a list, or one entry alone where the annotation says ``single``."""
        item = self.schema(shape_of((get_args(shape.core) or (Any,))[0]))
        schema: _Schema = {"type": "array", "items": item}
        if shape.min_length:
            schema["minItems"] = shape.min_length
        return {"anyOf": [item, schema]} if shape.extra.get("single") else schema

    def leaf(self, shape: Shape) -> _Schema:
        """Let msgspec describe what is neither table nor list."""
        (schema,), components = msgspec.json.schema_components(
            [shape.annotation], schema_hook=_custom_type, ref_template="#/$defs/{name}"
        )
        self.defs.update(components)
        return dict(schema)

    def use(self, struct: type[Use], kind: str) -> _Schema:
        """Describe an entry that names a supply of ``kind``: one alternative for each."""
        own = [
            field for field in msgspec.structs.fields(struct) if field.name not in ("use", "options", "where", "folder")
        ]
        beside = {field.encode_name: self.field(field) for field in own}
        supplied = self.supplies.get(kind, {})
        if not supplied:
            anything = {"type": "object", "properties": {"use": {"type": "string"}, **beside}, "required": ["use"]}
            return {"anyOf": [{"type": "string"}, anything]}
        short = [name for name, options in supplied.items() if not _required(options)]
        tables = [self.used(kind, name, options, beside) for name, options in supplied.items()]
        if issubclass(struct, AccessLogUse):
            short.append("none")
            tables.append(_exactly({"use": {"const": "none"}}, ["use"]))
        if issubclass(struct, TableStoreUse):
            short.append("memory")
            tables.append(_exactly({"use": {"const": "memory"}}, ["use"]))
        return {"anyOf": [{"enum": short}, *tables] if short else tables}

    def used(self, kind: str, name: str, options: type[msgspec.Struct], beside: _Schema) -> _Schema:
        """Describe the table that uses one supply, under ``$defs``."""
        key = f"{kind}.{name}"
        if key not in self.defs:
            fields = {field.encode_name: self.field(field) for field in msgspec.structs.fields(options)}
            self.defs[key] = _exactly({"use": {"const": name}, **fields, **beside}, ["use", *_required(options)])
        return {"$ref": f"#/$defs/{key}"}


def _one_of(schemas: list[_Schema]) -> _Schema:
    return {"anyOf": [entry for schema in schemas for entry in schema.get("anyOf", [schema])]}


def _exactly(properties: _Schema, required: list[str]) -> _Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _required(options: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(options) if field.required]


def _duration(shape: Shape) -> _Schema:
    duration = {"type": "string", "pattern": DURATION_PATTERN}
    return {"anyOf": [{"const": OFF}, duration]} if shape.optional else duration


def _size() -> _Schema:
    return {"type": "string", "pattern": SIZE_PATTERN}


def _custom_type(wanted: type[Any]) -> _Schema:
    if wanted is Duration:
        return _duration(Shape(Duration))
    if wanted is Size:
        return _size()
    raise NotImplementedError


def _name(struct: type[msgspec.Struct]) -> str:
    """The struct's name, with its module if it is a plugin's."""
    return struct.__name__ if issubclass(struct, Section) else f"{struct.__module__}.{struct.__qualname__}"
