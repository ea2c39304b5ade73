"""JSON Schemas (draft 2020-12, as in OpenAPI 3.1) of protobuf messages, as Envoy's transcoder writes them in JSON."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

RAW = ".google.api.HttpBody"
SCHEMAS = "#/components/schemas/"
# Deeper fields of a message cannot sensibly be written as query parameters.
DEEPEST_QUERY = 2

INTEGER = {"type": "integer", "format": "int32"}
LONG = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
NUMBER = {"type": "number", "format": "double"}
SCALARS: dict[int, dict[str, Any]] = {
    Field.TYPE_DOUBLE: NUMBER,
    Field.TYPE_FLOAT: NUMBER,
    Field.TYPE_INT64: LONG,
    Field.TYPE_UINT64: LONG,
    Field.TYPE_SINT64: LONG,
    Field.TYPE_FIXED64: LONG,
    Field.TYPE_SFIXED64: LONG,
    Field.TYPE_INT32: INTEGER,
    Field.TYPE_SINT32: INTEGER,
    Field.TYPE_SFIXED32: INTEGER,
    Field.TYPE_UINT32: INTEGER | {"minimum": 0},
    Field.TYPE_FIXED32: INTEGER | {"minimum": 0},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN: dict[str, dict[str, Any]] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    ".google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, separated by commas."},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.ListValue": {"type": "array", "items": {}},
    ".google.protobuf.Value": {},
    ".google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
    ".google.protobuf.Empty": {"type": "object"},
    ".google.protobuf.BoolValue": {"type": "boolean"},
    ".google.protobuf.StringValue": {"type": "string"},
    ".google.protobuf.DoubleValue": NUMBER,
    ".google.protobuf.Int32Value": INTEGER,
    ".google.protobuf.Int64Value": LONG,
    RAW: {},
}
STRING_FORMATS = {"uuid": "uuid", "email": "email", "uri": "uri", "hostname": "hostname"}
STRING_RULES = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
NUMBER_RULES = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
LIST_RULES = {"min_items": "minItems", "max_items": "maxItems"}


def comment(file: FileDescriptorProto, *path: int) -> str:
    """Return the comment of the element at `path` in one line, with its paragraphs joined by a space."""
    for location in file.source_code_info.location:
        if tuple(location.path) == path:
            return " ".join(location.leading_comments.split())
    return ""


# A stored JSON body holds nulls, which the message that documents it can only say in words.
_NULL = re.compile(r"\bnull\b")


@dataclass
class Messages:
    """All messages and enums of an image by their full names, and which of them a document refers to."""

    _messages: dict[str, DescriptorProto] = field(default_factory=dict)
    _enums: dict[str, EnumDescriptorProto] = field(default_factory=dict)
    _comments: dict[str, str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, files: descriptor_pb2.FileDescriptorSet) -> "Messages":
        """Index an image."""
        messages = cls()
        for file in files.file:
            comments = {
                tuple(location.path): " ".join(location.leading_comments.split())
                for location in file.source_code_info.location
            }
            for index, message in enumerate(file.message_type):
                messages._add(f".{file.package}", message, (4, index), comments)
            for enum in file.enum_type:
                messages._enums[f".{file.package}.{enum.name}"] = enum
        return messages

    def knows(self, name: str) -> bool:
        """Tell whether there is a message of this full name."""
        return name in self._messages

    def message(self, name: str) -> DescriptorProto:
        """Return a message by its full name."""
        return self._messages[name]

    def reference(self, name: str) -> dict[str, Any]:
        """Return a schema that stands for a message, and note that its own is needed."""
        if (known := WELL_KNOWN.get(name)) is not None:
            return dict(known)
        self._used.add(name)
        return {"$ref": f"{SCHEMAS}{name.removeprefix('.')}"}

    def used_schemas(self) -> dict[str, Any]:
        """Return the schemas of all messages that were referred to, and of those that they refer to, by name."""
        done: dict[str, Any] = {}
        while missing := sorted(self._used - done.keys()):
            for name in missing:
                done[name] = self.schema(self._messages[name], full_name=name)
        return {name.removeprefix("."): schema for name, schema in sorted(done.items())}

    def schema(
        self, message: DescriptorProto, *, full_name: str = "", without: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Return the schema of a message; `without` names fields that come from elsewhere."""
        name = full_name or self._name_of(message)
        properties = {}
        required = []
        for one in message.field:
            if one.name not in without:
                properties[one.name] = self.field_schema(one, self._comments.get(f"{name}.{one.name}", ""))
                if _must_be_given(one):
                    required.append(one.name)
        schema: dict[str, Any] = {"type": "object", "description": self._comments.get(name, "")}
        if properties:
            schema["properties"] = properties
        if required:
            schema["required"] = required
        return schema

    def field_schema(self, one: Field, description: str = "") -> dict[str, Any]:
        """Return the schema of a field with the rules that it carries."""
        rules = one.options.Extensions[validate_pb2.field]
        if one.label == Field.LABEL_REPEATED:
            if (entry := self._map_entry(one)) is not None:
                schema: dict[str, Any] = {"type": "object", "additionalProperties": self._value(entry.field[1])}
            else:
                items = self._value(one) | _scalar_rules(rules.repeated.items)
                schema = {"type": "array", "items": items} | _rules(rules.repeated, LIST_RULES)
        else:
            schema = self._value(one) | _scalar_rules(rules)
        if _NULL.search(description):
            schema = {"anyOf": [schema, {"type": "null"}]}
        if field_behavior_pb2.OUTPUT_ONLY in one.options.Extensions[field_behavior_pb2.field_behavior]:
            schema["readOnly"] = True
        return schema | ({"description": description} if description else {})

    def parameter(self, message: str, path: str) -> dict[str, Any]:
        """Return schema and description of the field at a dotted path, as a parameter has them."""
        *parents, last = path.split(".")
        for parent in parents:
            message = next(one.type_name for one in self._messages[message].field if one.name == parent)
        one = next(one for one in self._messages[message].field if one.name == last)
        found = {"schema": self.field_schema(one)}
        description = self._comments.get(f"{message}.{last}", "")
        return found | ({"description": description} if description else {})

    def query_names(self, message: str, depth: int = 1) -> Iterator[str]:
        """Yield the dotted paths of the fields that can be written as query parameters."""
        for one in self._messages[message].field:
            nested = one.type == Field.TYPE_MESSAGE and one.type_name not in WELL_KNOWN
            if one.type_name == RAW:
                continue  # Raw bytes are a body or nothing.
            if not nested:
                yield one.name
            elif one.label != Field.LABEL_REPEATED and depth < DEEPEST_QUERY:
                yield from (f"{one.name}.{name}" for name in self.query_names(one.type_name, depth + 1))

    def _add(
        self, parent: str, message: DescriptorProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{parent}.{message.name}"
        self._messages[name] = message
        self._comments[name] = comments.get(path, "")
        for index, one in enumerate(message.field):
            self._comments[f"{name}.{one.name}"] = comments.get((*path, 2, index), "")
        for enum in message.enum_type:
            self._enums[f"{name}.{enum.name}"] = enum
        for index, nested in enumerate(message.nested_type):
            self._add(name, nested, (*path, 3, index), comments)

    def _name_of(self, message: DescriptorProto) -> str:
        return next(name for name, known in self._messages.items() if known is message)

    def _map_entry(self, one: Field) -> DescriptorProto | None:
        message = self._messages.get(one.type_name)
        return message if message is not None and message.options.map_entry else None

    def _value(self, one: Field) -> dict[str, Any]:
        if one.type == Field.TYPE_MESSAGE:
            return self.reference(one.type_name)
        if one.type == Field.TYPE_ENUM:
            if one.type_name == ".google.protobuf.NullValue":
                return {"type": "null"}
            return {"type": "string", "enum": [value.name for value in self._enums[one.type_name].value]}
        return dict(SCALARS[one.type])


def _must_be_given(one: Field) -> bool:
    """Tell whether a request without the field is always refused."""
    rules = one.options.Extensions[validate_pb2.field]
    return bool(rules.required or rules.string.min_len or rules.repeated.min_items)


def _scalar_rules(rules: Any) -> dict[str, Any]:
    kind = rules.WhichOneof("type")
    if kind is None or kind == "repeated":
        return {}
    chosen = getattr(rules, kind)
    if kind == "string":
        found = _rules(chosen, STRING_RULES)
        if chosen.WhichOneof("well_known") in STRING_FORMATS:
            found["format"] = STRING_FORMATS[chosen.WhichOneof("well_known")]
        return found | ({"enum": list(getattr(chosen, "in"))} if getattr(chosen, "in") else {})
    if kind in {"int32", "uint32", "float", "double"}:
        return _rules(chosen, NUMBER_RULES)
    return {}


def _rules(rules: Any, names: dict[str, str]) -> dict[str, Any]:
    return {theirs: getattr(rules, ours) for ours, theirs in names.items() if rules.HasField(ours)}
