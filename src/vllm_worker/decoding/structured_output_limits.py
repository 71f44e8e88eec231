"""Limits on what an output has to follow: schemas, regular expressions, grammars, choices.

The engine compiles them, and some take it minutes: what those have in common was measured on
xgrammar, which compiles in the cube of the optional parts that follow each other.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MOST_STOPS = 1000
"""Strings that end an output: the texts of all requests wait while one is searched for them."""

_UNBOUNDED = 40
"""Number of repetitions that ?, * and + count as."""
_ENOUGH = 10**9
# Each part goes to the end of the text where nothing ends it, so that it is looked at once.
_CLASS = r"\[(?:\\.|[^\]\\])*(?:\]|\\?\Z)"
_TOKEN = re.compile(
    rf"""\\. | {_CLASS} | (?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>))?) | (?P<close>\))
    | \{{(?P<least>\d+)(?:(?P<to>,)(?P<most>\d*))?\}} | (?P<star>[?*+]) | .""",
    re.VERBOSE | re.DOTALL,
)
_OPAQUE = re.compile(rf'"(?:\\[^\n]|[^"\\\n])*(?:"|\\?$|\\?\Z)|{_CLASS}', re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:#|//)[^\n]*", re.MULTILINE)
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Limits:
    """`size` in bytes of JSON, `repeats` as counted by `repeats`, `depth` in levels of nesting.
    `allow_unenforced` is for what the engine would ignore: see decoding/unenforced.py.
    """

    size: int = 128 * 1024
    repeats: int = 10_000
    depth: int = 64
    allow_unenforced: bool = False

    def problem(self, constraint: Any) -> str | None:
        """The limit that `constraint` (vLLM's StructuredOutputsParams) exceeds, or None."""
        spec = constraint.json or constraint.structural_tag
        given = spec, constraint.regex, constraint.grammar, constraint.choice
        size = sum(_bytes(part) for part in given if part)
        if size > self.size:
            return f"has {size:,} bytes, more than {self.size:,} (STRUCTURED_OUTPUT_MAX_BYTES)"
        if _depth(spec, self.depth) > self.depth:
            return f"is nested too deeply: objects and arrays in it may nest {self.depth} levels"
        schemas = list(objects_in(spec))
        if far := next((ref for schema in schemas if (ref := _reference(schema))), None):
            inside = "only references within the schema, such as #/$defs/x, are supported"
            return f"refers to {far[:80]!r}; {inside}"
        patterns = [*_patterns(schemas), constraint.regex or ""]
        grammars = [*_texts(schemas, "grammar"), constraint.grammar or ""]
        count = sum(map(repeats, patterns)) + sum(map(grammar_repeats, grammars))
        count += sum(map(_items, schemas))
        if count > self.repeats:
            return (
                f"repeats its parts {count:,} times, more than {self.repeats:,} "
                "(STRUCTURED_OUTPUT_MAX_REPEATS): {2,9} and maxItems 9 count as 9, nested ones "
                f"multiply, and ?, * and + count as {_UNBOUNDED}"
            )
        return None


def repeats(pattern: str) -> int:
    """Repetitions in a regular expression: {2,9} counts as 9, nested ones multiply."""
    levels, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        if token["open"]:
            levels.append(0)
        elif token["close"]:
            last = levels.pop() if len(levels) > 1 else 0
            levels[-1] += last
        elif token["star"] or token["least"]:
            times = _number(token["most"] or token["least"] or "1")
            open_end = token["star"] or (token["to"] and not token["most"])
            quantified = min((_UNBOUNDED if open_end else times) + last * times, _ENOUGH)
            levels[-1] += quantified - last
            last = quantified
        else:
            last = 0
    return sum(levels)


def _bytes(part: Any) -> int:
    """Size as compact JSON; a string as it is."""
    if not isinstance(part, str):
        part = json.dumps(part, separators=(",", ":"), ensure_ascii=False)
    return len(part.encode("utf-8", "replace"))


def _number(digits: str) -> int:
    return _ENOUGH if len(digits) > _MOST_DIGITS else int(digits)


def grammar_repeats(grammar: str) -> int:
    """The same for a grammar, where a long sequence counts as one of optional parts."""
    symbols = _COMMENT.sub("", _OPAQUE.sub("x", grammar))
    longest = max(len(part.split()) for part in re.split(r"\||::=|:", symbols))
    return max(repeats(symbols), longest * _UNBOUNDED)


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON schema or a structural tag, which may be JSON texts."""
    if isinstance(schema, str):
        with suppress(ValueError, RecursionError):  # vLLM says what is wrong with it
            yield from objects_in(json.loads(schema))
        return
    rest = [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            rest += value.values()
            yield value


def _depth(spec: Any, most: int) -> int:
    """Nesting depth of objects and arrays, counted to just beyond `most`; texts are parsed."""
    if isinstance(spec, str):
        try:
            spec = json.loads(spec)
        except ValueError:
            return 0  # vLLM says what is wrong with it
        except RecursionError:
            return most + 1
    level, depth = [spec], 0
    while depth <= most:
        inside = [item for item in level if isinstance(item, dict | list)]
        if not inside:
            return depth
        level = [child for item in inside for child in _children(item)]
        depth += 1
    return depth


def _children(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item


def _reference(schema: dict[str, Any]) -> str | None:
    """A reference that leads out of the schema, which xgrammar would take for "anything"."""
    ref = schema.get("$ref")
    return ref if isinstance(ref, str) and not ref.startswith("#") else None


def _texts(objects: list[dict[str, Any]], name: str) -> Iterator[str]:
    """The texts that objects have under a name."""
    yield from (text for one in objects if isinstance(text := one.get(name), str))


def _items(schema: dict[str, Any]) -> int:
    """Number of items an array may or must have: llguidance builds something for each."""
    given = (schema.get("minItems"), schema.get("maxItems"))
    numbers = [number for number in given if isinstance(number, int | float) and number > 0]
    return int(min(max(numbers, default=0), _ENOUGH))


def _patterns(schemas: list[dict[str, Any]]) -> Iterator[str]:
    """The regular expressions in a schema's objects."""
    for schema in schemas:
        named = schema.get("patternProperties")
        yield from named if isinstance(named, dict) else ()
    yield from _texts(schemas, "pattern")
