"""What of a JSON schema the engine would take in silence and not hold an output to.

The rules are those of xgrammar, which vLLM uses unless it is told otherwise, found by asking it:
builder/schema_cases.json has a schema, an output that follows it and one that does not for each of
them. Guidance, which gets such a schema instead, refuses by itself what it cannot follow.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from vllm_worker.decoding.structured_output_limits import objects_in

Schema = dict[str, Any]

_MOST_POINTER = 200  # characters

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = (
    "items", "additionalItems", "additionalProperties", "contains", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
"""Keywords with subschemas: by name, in a list, one."""

_OBJECTS = {
    "properties", "patternProperties", "additionalProperties", "unevaluatedProperties",
}  # fmt: skip
_ARRAYS = {"items", "prefixItems", "unevaluatedItems"}
_OTHERS = {
    "required", "minProperties", "maxProperties", "propertyNames", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf",
}  # fmt: skip
_COMBINED = ("allOf", "anyOf", "oneOf")
_CHOICES = {"enum", "const", "$ref", *_COMBINED}
_ASSERTIONS = _OBJECTS | _ARRAYS | _OTHERS | _CHOICES | {"type"}
"""Keywords that say something of an output; the others describe, or are refused anyway."""

_IGNORED = (
    "not", "if", "contains", "dependentRequired", "dependentSchemas", "dependencies",
    "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_FORMATS = {
    "email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid", "uri",
    "uri-reference", "uri-template", "json-pointer", "relative-json-pointer",
}  # fmt: skip
_OTHER_FORMATS = {"regex", "idn-email", "idn-hostname", "iri", "iri-reference"}
"""Formats of JSON Schema that are followed, and those that are not. Other names only describe."""
_LOOKS_AROUND = re.compile(r"(?<!\\)(?:\\\\)*\(\?<?[=!]")


def unenforced(constraint: Any) -> str | None:
    """The first such keyword in `constraint` (vLLM's StructuredOutputsParams), as `"uniqueItems"
    at #/properties/tags`, or None."""
    for schema in _schemas(constraint):
        for pointer, subschema in _subschemas(schema):
            for rule in _RULES:
                if keyword := rule(subschema):
                    return f'"{keyword}" at {pointer}'
    return None


def _schemas(constraint: Any) -> Iterator[Any]:
    """The JSON schemas in it: its own, or those in a structural tag."""
    if constraint.json:
        yield _parsed(constraint.json)
    for part in objects_in(constraint.structural_tag):
        yield from (part[name] for name in ("json_schema", "schema") if name in part)


def _parsed(spec: Any) -> Any:
    if isinstance(spec, str):
        with suppress(ValueError, RecursionError):  # vLLM says what is wrong with it
            return json.loads(spec)
    return spec


def _subschemas(schema: Any) -> Iterator[tuple[str, Schema]]:
    """The schema and all schemas in it, with the JSON pointers to them (RFC 6901)."""
    rest = [("#", schema)]
    while rest:
        pointer, one = rest.pop()
        if not isinstance(one, dict):
            continue
        yield pointer, one
        inside: list[tuple[str, Any]] = []
        for name in _NAMED:
            if isinstance(group := one.get(name), dict):
                inside += [(f"{name}/{_escaped(key)}", part) for key, part in group.items()]
        for name in _LISTED:
            inside += [(f"{name}/{n}", part) for n, part in enumerate(_list(one, name))]
        inside += [(name, one[name]) for name in _SINGLE if name in one]
        if isinstance(names := one.get("propertyNames"), dict):
            inside.append(("propertyNames", {"type": "string"} | names))
        # Cut, so that a long key does not come again with each of many subschemas.
        rest += [(f"{pointer}/{path}"[:_MOST_POINTER], part) for path, part in reversed(inside)]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _is_ignored(schema: Schema) -> str | None:
    if schema.get("uniqueItems") is True:
        return "uniqueItems"
    return next((keyword for keyword in _IGNORED if keyword in schema), None)


def _reference(schema: Schema) -> str | None:
    """One by an anchor, or one that is not alone."""
    ref = schema.get("$ref")
    if not isinstance(ref, str):
        return None
    if _beside(schema, "$ref") or not (ref == "#" or ref.startswith("#/")):
        return "$ref"
    return None


def _combination(schema: Schema) -> str | None:
    """Of several parts of allOf only the first counts; anyOf and oneOf count alone."""
    parts = _list(schema, "allOf")
    if len(parts) > 1 or (parts and _beside(schema, "allOf", "type")):
        return "allOf"
    for keyword in ("anyOf", "oneOf"):
        branches = _list(schema, keyword)
        if branches and _beside(schema, keyword, "type"):
            return keyword
        if "type" in schema and not all(_is_within(b, _types(schema)) for b in branches):
            return keyword
    return None


def _choice(schema: Schema) -> str | None:
    """A value that is listed needs no other reason."""
    keyword = next((keyword for keyword in ("const", "enum") if keyword in schema), None)
    if keyword is None:
        return None
    if _beside(schema, "enum", "const", "type"):
        return keyword
    values = _list(schema, "enum") if keyword == "enum" else [schema[keyword]]
    if "type" in schema and not all(_type_of(value) & _types(schema) for value in values):
        return keyword
    return None


def _text(schema: Schema) -> str | None:
    name = schema.get("format")
    if isinstance(name, str) and name in _OTHER_FORMATS:
        return "format"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _LOOKS_AROUND.search(pattern):
        return "pattern"
    if any(map(_LOOKS_AROUND.search, _keys(schema.get("patternProperties")))):
        return "patternProperties"
    shaped = "format" if isinstance(name, str) and name in _FORMATS else None
    if pattern is not None and shaped:
        return "pattern"
    shaped = shaped or ("pattern" if pattern is not None else None)
    return shaped if schema.keys() & {"minLength", "maxLength"} else None


def _number(schema: Schema) -> str | None:
    return "multipleOf" if "multipleOf" in schema and "number" in _types(schema) else None


def _object(schema: Schema) -> str | None:
    properties = schema.get("properties")
    known = properties.keys() if isinstance(properties, dict) else set()
    required = schema.get("required")
    names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
    if not all(name in known for name in names):
        return "required"
    if "propertyNames" in schema and schema.keys() & {"properties", "patternProperties"}:
        return "propertyNames"
    if "patternProperties" in schema and known:
        return "patternProperties"
    return None


def _without_type(schema: Schema) -> str | None:
    """Without a type, and without what only objects or arrays have, everything is taken."""
    if "type" in schema or schema.keys() & (_OBJECTS | _ARRAYS | _CHOICES):
        return None
    return next((keyword for keyword in schema if keyword in _OTHERS), None)


_RULES: tuple[Callable[[Schema], str | None], ...] = (
    _is_ignored, _reference, _combination, _choice, _text, _number, _object, _without_type,
)  # fmt: skip


def _beside(schema: Schema, *keywords: str) -> bool:
    """Whether the schema says something with other keywords as well."""
    return bool(schema.keys() & _ASSERTIONS - set(keywords))


def _keys(group: Any) -> list[str]:
    return list(group) if isinstance(group, dict) else []


def _types(schema: Schema) -> set[str]:
    """The types that it names. An integer is a number, too."""
    given = schema.get("type")
    several = given if isinstance(given, list) else [given]
    types = {kind for kind in several if isinstance(kind, str)}
    return types | {"integer"} if "number" in types else types


def _is_within(branch: Any, types: set[str]) -> bool:
    """Whether a branch allows no other types. What a reference leads to is not looked at."""
    if not isinstance(branch, dict):
        return False
    if "type" in branch:
        return _types(branch) <= types
    values = [branch["const"]] if "const" in branch else _list(branch, "enum")
    if values:
        return all(_type_of(value) & types for value in values)
    if branch.keys() & _OBJECTS:
        return "object" in types
    if branch.keys() & _ARRAYS:
        return "array" in types
    inside = [part for keyword in _COMBINED for part in _list(branch, keyword)]
    return "$ref" in branch or (bool(inside) and all(_is_within(part, types) for part in inside))


def _list(schema: Schema, keyword: str) -> list[Any]:
    return value if isinstance(value := schema.get(keyword), list) else []


def _type_of(value: Any) -> set[str]:
    """The types that a value has."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case str():
            return {"string"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case list():
            return {"array"}
    return {"object"}
