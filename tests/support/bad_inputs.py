"""Jobs that are wrong or strange: what is sent, and what must come back.

A case that says nothing is strange but right, and has to be answered.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]
NAN, INFINITY = float("nan"), float("inf")
VOCABULARY = 1_000_000
"""A token id that no model has."""
_ID_OR_TIME = re.compile(r'"(id|created|delayTime|executionTime)": ?("[^"]*"|\d+)')


@dataclass(frozen=True)
class Case:
    """`says` is a part of the error's message, or None where the job has to succeed."""

    name: str
    input: Any
    says: str | None
    code: int = 400

    @property
    def arrives(self) -> bool:
        """Half of a surrogate pair does not: the local endpoint's own JSON is in UTF-8."""
        try:
            return bool(json.dumps(self.input, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            return False


def without_ids(answer: str) -> str:
    """An answer's JSON without what is another each time."""
    return _ID_OR_TIME.sub("", answer)


def nested(levels: int, inside: Any = "x") -> Any:
    """A value in so many arrays and objects."""
    for level in range(levels):
        inside = [inside] if level % 2 else {"a": inside}
    return inside


DEEP = nested(200)
_NOT_STRINGS: list[Any] = [5, 1.5, True, ["x"], [], {"a": "b"}, DEEP]
_NOT_BOOLEANS: list[Any] = ["maybe", "", 2, 1.5, [True], {}, DEEP]
_NOT_INTEGERS: list[Any] = ["x", "", 1.5, [1], {}, DEEP]
_NOT_NUMBERS: list[Any] = ["x", "", [0.5], {}, DEEP]
_NOT_OBJECTS: list[Any] = ["x", 5, True, [{}]]


def chat(**fields: Any) -> dict[str, Any]:
    return {"openai_route": CHAT, "openai_input": {"model": "demo", "messages": HI} | fields}


def completion(**fields: Any) -> dict[str, Any]:
    return {"openai_route": COMPLETIONS, "openai_input": {"model": "demo", "prompt": "x"} | fields}


def native(**sampling: Any) -> dict[str, Any]:
    return {"prompt": "x", "sampling_params": sampling}


# Each field of each form with values of the wrong type

_NATIVE_FIELDS = {
    "prompt": _NOT_STRINGS,
    "model": _NOT_STRINGS,
    "apply_chat_template": [*_NOT_BOOLEANS, "true", 1],
    "stream": [*_NOT_BOOLEANS, "true", 1],
    "sampling_params": _NOT_OBJECTS,
    "max_batch_size": [*_NOT_INTEGERS, True, 0, -1],
    "min_batch_size": [*_NOT_INTEGERS, True, 0, -1],
    "batch_size_growth_factor": [*_NOT_NUMBERS, True, 0, 0.99, -2, NAN, INFINITY],
    "messages": [5, True, {}, [], ["x"], [5], [None], [{}], [{"content": "x"}], [HI]],
}
_NATIVE_SAMPLING = {
    "max_tokens": [*_NOT_INTEGERS, True, 0, -1],
    "min_tokens": [*_NOT_INTEGERS, -1, 10**9],
    "n": [*_NOT_INTEGERS, 0, -1, 10**9],
    "best_of": [*_NOT_INTEGERS, 0, -1, 10**9],
    "seed": [*_NOT_INTEGERS],
    "top_k": [*_NOT_INTEGERS, -2],
    "temperature": [*_NOT_NUMBERS, -1, 2.1, 1e300, NAN, INFINITY],
    "top_p": [*_NOT_NUMBERS, 0, -1, 1.1, NAN],
    "min_p": [*_NOT_NUMBERS, -0.1, 1.1, NAN],
    "presence_penalty": [*_NOT_NUMBERS, -2.1, 2.1, NAN],
    "frequency_penalty": [*_NOT_NUMBERS, -2.1, 2.1, NAN],
    "repetition_penalty": [*_NOT_NUMBERS, 0, -1, NAN, INFINITY],
    "length_penalty": [*_NOT_NUMBERS, NAN, INFINITY],
    "stop": [5, True, {}, [5], [None], [["x"]], "", [""]],
    "stop_token_ids": ["x", 5, ["x"], [1.5], [[1]], {}],
    "bad_words": ["x", 5, [5], {}, [""]],
    "logit_bias": ["x", 5, [1], {"x": 1}, {"1": "x"}, {str(VOCABULARY): 1}],
    "allowed_token_ids": ["x", 5, ["x"], [VOCABULARY], [-1], []],
    "ignore_eos": _NOT_BOOLEANS,
    "skip_special_tokens": _NOT_BOOLEANS,
    "spaces_between_special_tokens": _NOT_BOOLEANS,
    "include_stop_str_in_output": _NOT_BOOLEANS,
    "use_beam_search": _NOT_BOOLEANS,
    "early_stopping": ["sometimes", 5, [], {}],
    "structured_outputs": ["x", 5, [], {"json": 5}, {"regex": 5}, {"choice": "x"}],
}
# vLLM reads these bodies as OpenAI does: "5" is a number there.
_OPENAI_FIELDS = {
    "max_tokens": ["x", 1.5, [1], {}, -1, NAN],
    "n": ["x", 1.5, [1], {}, 0, -1, 10**9],
    "best_of": ["x", 1.5, [1], {}, 0, -1],
    "seed": ["x", 1.5, [1], {}],
    "temperature": ["x", [0.5], {}, -1, 2.1, NAN, INFINITY],
    "top_p": ["x", [0.5], {}, 0, -1, 1.1, NAN],
    "top_k": ["x", [1], {}, -2],
    "min_p": ["x", [1], {}, -0.1, 1.1],
    "presence_penalty": ["x", [1], {}, -2.1, 2.1],
    "frequency_penalty": ["x", [1], {}, -2.1, 2.1],
    "repetition_penalty": ["x", [1], {}, 0, -1],
    "stop": [5, {}, [5], [None], ""],
    "stop_token_ids": ["x", 5, ["x"], {}],
    "logit_bias": ["x", 5, [1], {"x": 1}, {str(VOCABULARY): 1}],
    "ignore_eos": ["maybe", [], {}],
    "stream": ["maybe", [], {}],
    "stream_options": ["x", 5, [1]],
    "use_beam_search": ["maybe", [], {}],
    "guided_json": [5, True, [{}]],
    "guided_regex": [5, True, ["x"]],
    "guided_choice": [5, "x", {}],
    "guided_grammar": [5, True, ["x"]],
    "prompt_logprobs": ["x", 1.5, -2, 10**6],
}
_CHAT_FIELDS = {
    "messages": [5, {}, ["x"], [5], [{}], [{"role": 5, "content": "x"}], DEEP],
    "tools": ["x", 5, {}, [5], [{}], [{"type": "function"}], [{"type": "function", "function": 5}]],
    "tool_choice": ["sometimes", 5, [], {"type": "function"}],
    "response_format": ["json", 5, [], {}, {"type": "yaml"}, {"type": "json_schema"}],
    "logprobs": ["maybe", [], {}],
    "top_logprobs": ["x", 1.5, -1, 10**6],
}
_COMPLETION_FIELDS = {
    "prompt": [5, {}, [], [[]], [[["x"]]], [[1.5]], [-1]],
    "logprobs": ["x", 1.5, [], -1, 10**6],
    "echo": ["maybe", [], {}],
    "suffix": ["x", 5],
}


def _wrong_fields() -> Iterator[Case]:
    forms: list[tuple[str, Any, dict[str, Any]]] = [
        ("native", _native, _NATIVE_FIELDS),
        ("sampling", native, _NATIVE_SAMPLING),
        ("chat", chat, _OPENAI_FIELDS | _CHAT_FIELDS),
        ("completion", completion, _OPENAI_FIELDS | _COMPLETION_FIELDS),
    ]
    for where, form, fields in forms:
        for field, values in fields.items():
            for value in values:
                yield _case(f"{where} {field}", form(**{field: value}), field, value)


def _native(**fields: Any) -> dict[str, Any]:
    return fields if "messages" in fields else {"prompt": "x"} | fields


def _case(where: str, job: Any, field: str, value: Any) -> Case:
    return Case(f"{where} {'deep' if value is DEEP else repr(value)[:30]}", job, field)


# What does not fit a form, and what is too large

_EVERY_PLANE = "".join(chr(plane << 16 | 0xFFF0 - 1) for plane in range(17))
_FORMS = [
    Case("a text", "hi", "input must be an object, not a string"),
    Case("null", None, "input must be an object, not null"),
    Case("a number", 5, "input must be an object, not 5"),
    Case("a list", [{"prompt": "x"}], "input must be an object, not an array"),
    Case("empty", {}, "Give prompt or messages; neither"),
    Case("null prompt", {"prompt": None}, "neither was given"),
    Case("unknown field", {"prompt": "x", "max_token": 5}, "max_token is not a field"),
    Case("unknown parameter", native(max_token=5), 'Did you mean "max_tokens"?'),
    Case("a parameter of vLLM's own", native(extra_args={"a": 1}), "extra_args is not a sampling"),
    Case("unknown model", {"prompt": "x", "model": "nobody"}, "nobody", 404),
    Case("unknown model of a chat", chat(model="nobody"), "nobody", 404),
    Case("a path as model", chat(model="../../etc/passwd"), "passwd", 404),
    Case("2^64", native(seed=2**64), "does not fit in 64 bits"),
    Case("half a pair", {"prompt": "\ud800"}, "unpaired surrogate"),
    Case("half a pair in a chat", chat(messages="\udfff"), "unpaired surrogate"),
    Case("half a pair as a name", {"prompt": "x", "\ud800": 1}, "unpaired surrogate"),
    Case("nested 900 deep", {"prompt": "x", "stream": nested(900)}, "stream"),
    Case("NUL", {"prompt": "a\x00b"}, None),
    Case("NUL in a chat", chat(messages="a\x00b", max_tokens=2), None),
    Case("every plane", {"prompt": _EVERY_PLANE}, None),
    Case("every plane in a chat", chat(messages=_EVERY_PLANE, max_tokens=2), None),
    Case("control characters", {"prompt": "".join(map(chr, range(32)))}, None),
    Case("an empty prompt", {"prompt": ""}, "prompt"),
    Case("no message", chat(messages=[]), "at least one message"),
    Case("broken JSON as a schema", chat(guided_json="{broken"), "JSON"),
    Case("a broken expression", chat(guided_regex="("), "regex"),
    Case("a broken grammar", chat(guided_grammar="root ::= ("), "grammar"),
    Case("an empty message", {"messages": ""}, None),
    Case("no role's content", {"messages": [{"role": "user"}]}, None),
    Case("a role that nobody has", {"messages": [{"role": "king", "content": "x"}]}, None),
    Case("10 MB of prompt", {"prompt": "word " * 2_000_000}, "maximum context length"),
    Case("10 MB of chat", chat(messages="word " * 2_000_000), "maximum context length"),
    Case("10 MB in one word", {"prompt": "x" * 10_000_000}, "maximum context length"),
    Case("100,000 messages", {"messages": HI * 100_000}, "maximum context length"),
    Case("100,000 messages of a chat", chat(messages=HI * 100_000), "maximum context length"),
    Case("100,000 prompts", completion(prompt=["x"] * 100_000, max_tokens=1), "prompt"),
    Case("100,000 stops", native(stop=[str(n) for n in range(100_000)]), "stop"),
    Case("100,000 bad words", native(bad_words=[str(n) for n in range(100_000)]), "bad_words"),
    Case("100,000 unknown names", native(**{f"x{n}": 1 for n in range(100_000)}), "x0"),
    Case("a stop of 1 MB", native(stop="x" * 1_000_000), None),
    Case("more than the context", chat(max_tokens=10**6), "max_tokens"),
    Case(
        "more than the context, native", native(max_tokens=10**6, stop=["a", "e", "i", "o"]), None
    ),
    Case("a million chunks", {"prompt": "x", "stream": True, "max_batch_size": 10**15}, None),
    Case(
        "largest growth", {"prompt": "x", "stream": True, "batch_size_growth_factor": 1e308}, None
    ),
    Case("a token that no model has", completion(prompt=[VOCABULARY]), "out of vocabulary"),
]

# Routes, methods, headers

_ROUTES = [
    Case("no slash", {"openai_route": "v1/models"}, "must start with a slash"),
    Case("an absolute URL", {"openai_route": "http://example.com/v1/models"}, "must start with"),
    Case("a host", {"openai_route": "//example.com/v1/models"}, "must start with a slash"),
    Case("an empty route", {"openai_route": ""}, "openai_route"),
    Case("a route that is a number", {"openai_route": 5}, "openai_route"),
    Case("null route", {"openai_route": None}, "neither was given"),
    Case("traversal", {"openai_route": "/v1/../../etc/passwd"}, "is not a route", 404),
    Case("encoded traversal", {"openai_route": "/v1/%2e%2e/%2e%2e/sleep"}, "is not a route", 404),
    Case("traversal to a closed route", {"openai_route": "/v1/../sleep"}, "is not a route", 404),
    Case("encoded slash", {"openai_route": "/v1%2Fmodels"}, None),
    Case("a closed route", {"route": "/sleep", "method": "POST"}, "is closed to jobs", 403),
    Case("an encoded closed route", {"route": "/%73leep", "method": "POST"}, "is closed", 403),
    Case("a closed route with a query", {"openai_route": "/metrics?x=1"}, "is closed", 403),
    Case("a closed route in capitals", {"openai_route": "/SLEEP"}, "is not a route", 404),
    Case("an unknown route", {"openai_route": "/v1/nope"}, "is not a route", 404),
    Case("a route of a response", {"route": "/v1/responses/render", "body": {"a": 1}},
         "closed to jobs", 403),
    Case("a slash too many", {"openai_route": "/v1/models/"}, "is not a route", 404),
    Case("a space", {"openai_route": "/v1/mod els"}, "is not a route", 404),
    Case("a line break", {"openai_route": "/v1/models\n"}, "is not a route", 404),
    Case("NUL in a route", {"openai_route": "/v1/models\x00"}, "is not a route", 404),
    Case("a long route", {"openai_route": "/v1/" + "x" * 100_000}, "is not a route", 404),
    Case("a long query", {"openai_route": "/v1/models?x=" + "y" * 100_000}, None),
    Case("a query that is no text", {"openai_route": "/v1/models?x=\u00e9\U0001f600"}, None),
    Case("a fragment", {"openai_route": "/v1/models#x"}, "is not a route", 404),
    Case("an unknown method", {"route": "/v1/models", "method": "TRACE"}, "method must be"),
    Case("a method in small letters", {"route": "/v1/models", "method": "get"}, "method must be"),
    Case("a wrong method", {"route": "/v1/models", "method": "DELETE"}, "takes GET", 405),
    Case("no body", {"openai_route": CHAT}, "takes POST, not GET", 405),
    Case("a body that is a list", {"openai_route": CHAT, "openai_input": [1]}, "openai_input"),
    Case("a body that is a text", {"route": CHAT, "body": "x"}, "body"),
    Case("a body for models", {"openai_route": "/v1/models", "openai_input": {"a": 1}}, "GET", 405),
    Case("a response that is not", {"openai_route": "/v1/responses/none"}, "none", 404),
    Case("a header that is not open", chat() | {"openai_headers": {"Authorization": "x"}}, "among"),
    Case("a line in a header", chat() | {"openai_headers": {"X-Request-Id": "a\nb"}}, "printable"),
    Case("a header of 1 MB", chat() | {"openai_headers": {"X-Request-Id": "x" * 10**6}}, "longer"),
    Case("a header that is a number", chat() | {"openai_headers": {"X-Request-Id": 5}}, "string"),
    Case("headers as a list", chat() | {"openai_headers": ["x"]}, "openai_headers"),
    Case("not for this model", {"openai_route": "/v1/embeddings", "openai_input": {"input": "x"}},
         "not a route of the loaded model", 404),
    Case("audio that is no base64", {"openai_route": "/v1/audio/transcriptions",
         "openai_input": {"file": "!!!"}}, "file is not base64"),
    Case("audio by http", {"openai_route": "/v1/audio/transcriptions",
         "openai_input": {"file": "http://example.com/x.wav"}}, "https://"),
    Case("no audio", {"openai_route": "/v1/audio/transcriptions",
         "openai_input": {"model": "demo"}}, "file is missing"),
]  # fmt: skip

# What an output has to follow, made to explode

_ENDLESS = "a?" * 2000
_DEEP_SCHEMA: Any = {"type": "string"}
for _ in range(100):
    _DEEP_SCHEMA = {"type": "object", "properties": {"a": _DEEP_SCHEMA}}
_LARGE_CHOICE = [f"choice {number}" for number in range(100_000)]
_LOOP = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
_TAG = json.dumps(
    {
        "type": "structural_tag",
        "format": {"type": "grammar", "grammar": "root ::= " + "[a]? " * 4000},
    }
)
_EXPLODING: dict[str, tuple[dict[str, Any], str]] = {
    "an endless expression": ({"regex": _ENDLESS}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
    "nested repetition": ({"regex": "((a{1,200}){1,200}){1,200}"}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
    "a wrong expression": ({"regex": "(" * 500}, ""),
    "a pattern in a schema": ({"json": {"type": "string", "pattern": _ENDLESS}}, "MAX_REPEATS"),
    "a deep schema": ({"json": _DEEP_SCHEMA}, "nested too deeply"),
    "a schema deeper than Python": ({"json": nested(900)}, ""),
    "a schema in a circle": ({"json": _LOOP}, ""),
    "a reference to a file": ({"json": {"$ref": "file:///etc/passwd"}}, "refers to"),
    "a huge enum": ({"json": {"enum": _LARGE_CHOICE}}, "STRUCTURED_OUTPUT_MAX_BYTES"),
    "a huge choice": ({"choice": _LARGE_CHOICE}, "STRUCTURED_OUTPUT_MAX_BYTES"),
    "no choice": ({"choice": []}, ""),
    "a grammar in a circle": ({"grammar": "root ::= root"}, ""),
    "a wrong grammar": ({"grammar": "root ::= ("}, ""),
    "a grammar of optional parts": (
        {"grammar": f'root ::= {"x " * 1000}\nx ::= "" | "a"'}, "MAX_REPEATS"),
    "a million digits": ({"regex": f"a{{{'9' * 100_000}}}"}, "MAX_REPEATS"),
    "classes without an end": ({"regex": "[" * 100_000}, ""),
    "quotes without an end": ({"grammar": 'root ::= "' + '\\"' * 50_000}, ""),
    "a grammar in a tag": ({"structural_tag": _TAG}, "MAX_REPEATS"),
    "two constraints": ({"regex": "a", "json": {}}, ""),
    "an unknown constraint": ({"xml": "x"}, ""),
}  # fmt: skip


def _exploding() -> Iterator[Case]:
    for name, (constraint, says) in _EXPLODING.items():
        yield Case(f"native {name}", native(structured_outputs=constraint), says)
        yield Case(f"chat {name}", chat(structured_outputs=constraint, max_tokens=2), says)


CASES = [*_wrong_fields(), *_FORMS, *_ROUTES, *_exploding()]

REFERENCE: list[dict[str, Any]] = [
    {"prompt": "RunPod is", "sampling_params": {"temperature": 0, "max_tokens": 20}},
    {"messages": HI, "sampling_params": {"temperature": 0, "max_tokens": 20}},
    {"prompt": "x", "sampling_params": {"temperature": 1, "seed": 7, "max_tokens": 20}},
    {"prompt": "x", "stream": True, "sampling_params": {"temperature": 0, "max_tokens": 20}},
    native(structured_outputs={"choice": ["yes", "no"]}, temperature=0),
    native(use_beam_search=True, n=2, max_tokens=5),
    completion(temperature=0, max_tokens=20, logprobs=2),
    chat(temperature=0, max_tokens=20),
    chat(temperature=0, max_tokens=20, response_format={"type": "json_object"}),
    {"openai_route": "/tokenize", "openai_input": {"model": "demo", "prompt": "RunPod is"}},
]
"""Ten jobs whose answers, but for ids and times, are always the same."""
