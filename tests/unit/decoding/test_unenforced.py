"""Keywords that the engine would ignore, and where they are found."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_worker.decoding.unenforced import unenforced

KEYWORDS = [
    "type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref",
    "not", "if", "pattern", "format", "minLength", "multipleOf", "propertyNames", "prefixItems",
    "patternProperties", "uniqueItems", "$defs", "additionalProperties",
]  # fmt: skip


def of(schema: Any, tag: Any = None) -> str | None:
    return unenforced(SimpleNamespace(json=schema, structural_tag=tag))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array", "items": {"not": {}}}, '"not" at #/items'),
        ({"properties": {"not": {"type": "string"}}}, None),
        ({"properties": {"a/b": {"uniqueItems": True}}}, '"uniqueItems" at #/properties/a~1b'),
        ({"$defs": {"x": {"anyOf": [{}, {"if": {}}]}}}, '"if" at #/$defs/x/anyOf/1'),
        ({"propertyNames": {"pattern": "(?=a)"}, "type": "object"}, '"pattern" at #/propertyNames'),
        ('{"type": "array", "uniqueItems": true}', '"uniqueItems" at #'),
        ("no JSON", None),
        ({"title": "T", "description": "d", "anyOf": [{"type": "string"}], "default": "x"}, None),
    ],
)
def test_the_keyword_is_named_with_its_place(schema: Any, says: str | None) -> None:
    assert of(schema) == says


def test_schemas_in_a_structural_tag_are_looked_at() -> None:
    tag = {
        "format": {"type": "tag", "content": {"type": "json_schema", "json_schema": {"not": {}}}}
    }
    assert of(None, tag) == '"not" at #'
    assert of(None, json.dumps(tag)) == '"not" at #'
    legacy = {"structures": [{"begin": "<a>", "schema": {"if": {}}, "end": "</a>"}]}
    assert of(None, json.dumps(legacy)) == '"if" at #'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*KEYWORDS, "(?="]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is
@given(values)
def test_what_is_no_schema_is_left_to_vllm(value: Any) -> None:
    found = of(value)
    assert found is None or found.startswith('"')
