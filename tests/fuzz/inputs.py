"""Random jobs: those that make sense, those that nearly do, and those that make none."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from vllm_worker.decoding.parameters import NAMES, NEUTRAL
from vllm_worker.jobs.inputs import GatewayInput, NativeJob, OpenAIJob
from vllm_worker.jobs.legacy import LEGACY_NAMES
from vllm_worker.routes.allowlist import ALLOWED, REFUSED

Strategy = st.SearchStrategy[Any]
Draw = Callable[[Strategy], Any]

_SAID = [{"role": "user", "content": "Hi"}]
_CALLED = [
    *_SAID,
    {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
     "function": {"name": "f", "arguments": '{"x": 1}'}}]},
    {"role": "tool", "tool_call_id": "1", "content": "done"},
]  # fmt: skip
_PARTS = [
    {"type": "text", "text": "Hi"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
]
_SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
_TOOL = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": _SCHEMA}}
_TOKENS = [[], [0], [5, 300], [-1], [10**6], [2**63 - 1]]

PLAUSIBLE: dict[str, list[Any]] = {
    "n": [1, 2, 8, 0],
    "best_of": [1, 2, 5],
    "temperature": [0, 0.5, 1, 2, 1e-9, 5e-324],
    "top_p": [1, 0.5, 1e-9, 5e-324],
    "top_k": [0, -1, 1, 50, 2**31, 2**63],
    "min_p": [0, 0.5, 1],
    "max_tokens": [1, 5, 20, 10**9, 2**63, None],
    "max_completion_tokens": [1, 5, 20, 10**9],
    "max_output_tokens": [1, 5, 20, 10**9],
    "min_tokens": [0, 1, 10, 10**9, 2**63],
    "presence_penalty": [-2, 0, 0.1, 2],
    "frequency_penalty": [-2, 0, 0.1, 2],
    "repetition_penalty": [0.1, 1, 2, 1e-9, 5e-324, 1e308],
    "length_penalty": [-1, 0, 1, 2, 1e308, -1e308],
    "early_stopping": [True, False, "never"],
    "use_beam_search": [True],
    "seed": [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1],
    "stop": ["", ".", "a", [], ["a", "."], ["x" * 300], ["\x00"], "\U0001f600"],
    "stop_token_ids": _TOKENS,
    "allowed_token_ids": _TOKENS,
    "logprob_token_ids": _TOKENS,
    "logit_bias": [{}, {"5": 100}, {"5": -1e308}, {"-1": 1}, {"1000000": 1}, {"x": 1}, {"1e3": 1}],
    "bad_words": [[], ["the"], [" "], ["\x00"], [""], ["\U0001f600"]],
    "logprobs": [0, 1, 5, 20, 21, -1, True],
    "top_logprobs": [0, 1, 20, -1],
    "prompt_logprobs": [0, 1, 20, -1],
    "truncate_prompt_tokens": [-1, 0, 1, 5, 10**9],
    "truncation_side": ["left", "right"],
    "thinking_token_budget": [-1, 0, 5],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}],
    "repetition_detection": [{"max_pattern_size": 2, "min_count": 2}, {"max_pattern_size": 10**9}],
    "priority": [0, 1, 2**31],
    "stream_interval": [1, 5, 10**9],
    "stream_options": [{"include_usage": True, "continuous_usage_stats": True}],
    "cache_salt": ["x", "x" * 1024],
    "user": ["x", ""],
    "model": ["demo", "other", "../demo", ""],
    "suffix": ["", "x"],
    "system": ["Be kind.", [{"type": "text", "text": "Be kind."}]],
    "instructions": ["Be kind.", ""],
    "prompt": ["Hi", "", [5, 6], [[5], [6, 7]], ["Hi", "Ho"], [], [[]], [10**6], [-1], "x" * 3000],
    "messages": [_SAID, _CALLED, "Hi", [], [{"role": "user", "content": _PARTS}],
                 [{"role": "user", "content": _PARTS[:1]}], [{"role": "other", "content": "Hi"}],
                 [{"role": "assistant", "content": None}], [_SAID, _SAID], [*_SAID, *_SAID]],
    "input": ["Hi", "", _SAID, [{"type": "message", **_SAID[0]}], [],
              [{"type": "function_call_output", "call_id": "1", "output": "x"}]],
    "tokens": _TOKENS,
    "tools": [[], [_TOOL], [_TOOL, _TOOL], [{"type": "function", "name": "f", "parameters": {}}],
              [{"name": "f", "input_schema": _SCHEMA}], [{"type": "web_search"}]],
    "tool_choice": ["none", "auto", "required", "any", {"type": "auto"},
                    {"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}],
    "response_format": [{"type": kind} for kind in ("text", "json_object", "grammar")]
    + [{"type": "json_schema", "json_schema": {"name": "x", "schema": _SCHEMA}}],
    "structured_outputs": [{}, {"json": _SCHEMA}, {"json": "{"}, {"json": True},
                           {"json": {"type": "array", "minItems": 10**9}},
                           {"json": {"type": "array", "maxItems": 9, "contains": {}}},
                           {"regex": "a+"},
                           {"regex": "("}, {"choice": ["a", "b"]}, {"choice": []}, {"choice": [""]},
                           {"grammar": 'root ::= "a"'}, {"grammar": "x"}, {"json_object": True},
                           {"structural_tag": "{}"}, {"regex": "a", "json": {}}],
    "guided_json": [_SCHEMA, {}, "{}", {"type": "x"}, {"enum": []}],
    "guided_regex": ["a+", "[", "\\d{3}", "(?=a)", "\\p{L}", ""],
    "guided_choice": [["a"], [], ["", "a"], ["\x00"]],
    "guided_grammar": ['root ::= "a"', "root ::= root", "", 'start: "a"'],
    "text": [{"format": {"type": "text"}}, {"format": {"type": "json_schema", "name": "x",
             "schema": _SCHEMA}}],
    "reasoning": [{"effort": "low"}, {"effort": "none"}],
    "reasoning_effort": ["low", "none", "max"],
    "previous_response_id": ["resp_1", ""],
    "request_id": ["x", "", "x" * 1000],
    "max_batch_size": [1, 5, 10**9],
    "min_batch_size": [1, 5, 10**9],
    "batch_size_growth_factor": [1, 3.5, 1e308],
    "items": [[], ["a"], [[5]], "a"],
    "query": ["Hi", [5], ""],
    "label_token_ids": _TOKENS,
    "file": ["AAAA", "data:audio/wav;base64,AAAA", {"data": "AAAA", "filename": "\x00\n\""}],
}  # fmt: skip
"""Field → values with which a job may well be answered, and a few just beyond."""

_ODD_TEXTS = ["", "\x00", "\ud800", "\udfff", "\U0010ffff", "\ufeff", "\n\n", "data: ", "%00", "{}"]
_ODD_NUMBERS = [2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**4000, 1e308, -1e308,
                5e-324, -0.0, float("nan"), float("inf"), float("-inf")]  # fmt: skip

_TEXTS = st.sampled_from(_ODD_TEXTS) | st.text(st.characters(), max_size=20)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(_ODD_NUMBERS), _TEXTS
)


def _nested(depth: int, key: str | None) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


ANYTHING: Strategy = st.one_of(
    _SCALARS,
    st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
        max_leaves=6,
    ),
    st.builds(_nested, st.integers(1, 980), st.sampled_from([None, "a", "properties"])),
)
"""Any JSON, and the numbers that Python's parser takes beside."""


def _mostly(usual: Strategy, other: Strategy, out_of: int) -> Strategy:
    """Now and then, once out of so many times, the other."""
    return st.integers(1, out_of).flatmap(lambda number: other if number == out_of else usual)


@st.composite
def _spoilt(draw: Draw, value: Any) -> Any:
    """The value with something else in one place of it."""
    if not (isinstance(value, dict | list) and value) or draw(st.integers(0, 3)) == 0:
        return draw(ANYTHING)
    if isinstance(value, list):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], draw(_spoilt(value[i])), *value[i + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    return value | {name: draw(_spoilt(value[name]))}


def _value(name: str) -> Strategy:
    known = PLAUSIBLE.get(name)
    usual = st.sampled_from(known) if known else st.booleans()
    # Of several fields, one that is refused hides what the others do.
    return _mostly(usual, _mostly(usual.flatmap(_spoilt), ANYTHING, 2), 4)


@st.composite
def _with_fields(draw: Draw, base: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The base with values for some of these fields."""
    names = names + 2 * [name for name in names if name in PLAUSIBLE]
    chosen = draw(st.lists(st.sampled_from(names), max_size=5, unique=True))
    return base | {name: draw(_value(name)) for name in chosen}


@st.composite
def native_inputs(draw: Draw, parameters: list[str]) -> Any:
    """`parameters`: names of vLLM's sampling parameters."""
    name = draw(st.sampled_from(["prompt", "messages"]))
    parameters = [*parameters, *sorted({*NAMES, *NEUTRAL, *LEGACY_NAMES})]
    chosen = draw(_with_fields({"max_tokens": 5}, parameters))
    usual = st.just(PLAUSIBLE[name][0])
    base = {name: draw(_mostly(usual, _value(name), 3)), "sampling_params": chosen}
    fields = [*(NativeJob.model_fields.keys() - {"prompt", "messages", "sampling_params"})]
    return draw(_with_fields(base, sorted(fields)))


@st.composite
def openai_inputs(draw: Draw, fields: dict[str, list[str]]) -> Any:
    """`fields`: route → the names of the fields of its body."""
    route = draw(st.sampled_from(sorted(fields)))
    names = [*fields[route], *sorted({*NAMES, *LEGACY_NAMES, "stream"})]
    needed = {"prompt", "messages", "input", "tokens", "file", "query", "items"} & {*fields[route]}
    base = {"max_tokens": 5} | {name: PLAUSIBLE[name][0] for name in sorted(needed)}
    body = draw(_with_fields(base, names))
    if draw(st.booleans()):
        return {"openai_route": route, "openai_input": body}
    return {"route": route, "body": body}


@st.composite
def odd_inputs(draw: Draw) -> Any:
    """Inputs with the right names and no sense, and routes of all kinds."""
    refused = [route for routes in REFUSED.values() for route in routes]
    routes = st.sampled_from([*ALLOWED, *refused]) | _TEXTS.map("/v1/{}".format) | _TEXTS
    if draw(st.booleans()):
        methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
        given = {"method": methods, "body": ANYTHING, "headers": ANYTHING}
        return draw(st.fixed_dictionaries({"route": routes}, optional=given))
    forms = (NativeJob, OpenAIJob, GatewayInput)
    names = sorted({name for form in forms for name in form.model_fields})
    return draw(ANYTHING | st.dictionaries(st.sampled_from(names) | _TEXTS, ANYTHING, max_size=4))


def jobs(parameters: list[str], fields: dict[str, list[str]]) -> Strategy:
    """The way of a job and its input, of all kinds."""
    native, openai = native_inputs(parameters), openai_inputs(fields)
    sensible = native | openai | openai
    inputs = _mostly(sensible, _mostly(sensible.flatmap(_spoilt), odd_inputs(), 2), 8)
    return st.tuples(st.sampled_from(["runsync", "stream", "gateway"]), inputs)
