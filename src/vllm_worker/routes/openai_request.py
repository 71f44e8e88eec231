"""An OpenAIJob → the request that vLLM's application gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from urllib3.filepost import encode_multipart_formdata

from vllm_worker.configuration.settings import CLOSED_FIELDS, Settings
from vllm_worker.decoding.parameters import (
    DEFAULT,
    NAMES,
    DecodingParams,
    best,
    read_decoding_params,
)
from vllm_worker.decoding.tool_arguments import with_strict_tools
from vllm_worker.engine.protocol import VLLMRequest
from vllm_worker.errors import BadRequest
from vllm_worker.jobs.audio import read_audio
from vllm_worker.jobs.inputs import OpenAIJob, as_messages
from vllm_worker.jobs.legacy import with_current_names
from vllm_worker.jobs.validation import json_text, json_type
from vllm_worker.routes.allowlist import OpenRoute

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_RESPONSES = "/v1/responses"
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_TEXT_PARTS = ("input_text", "output_text", "text")
_AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")
_PER_TOKEN = ("logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids", "stream_interval")
_KEPT_ELSEWHERE = {_MESSAGES: "thread", _COUNT: "thread", _RESPONSES: "conversation"}
"""Fields that stand for the earlier part of a conversation."""
_STRUCTURED = (CHAT, COMPLETIONS, "/v1/chat/completions/batch", _RESPONSES)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request and how it is answered.

    With `can_buffer` it is one stream whose tokens the engine may buffer. `strict_if_possible` is
    RequestContext's.
    """

    request: VLLMRequest
    decoding: DecodingParams = DEFAULT
    can_buffer: bool = False
    strict_if_possible: bool = False


async def prepare(job: OpenAIJob, route: OpenRoute, job_id: str, settings: Settings) -> Prepared:
    """Raises BadRequest for what cannot be honoured, TooLarge."""
    headers = {"x-request-id": job_id, "content-type": "application/json"} | job.headers
    if not job.body:
        content = b"" if job.body is None else b"{}"
        return Prepared(VLLMRequest(job.method, job.route, content, headers))
    body = _current(route, job.body)
    decoding = DEFAULT
    if route in (CHAT, COMPLETIONS):
        decoding = read_decoding_params(body, stream=body.get("stream") not in (None, False))
    _refuse_closed(body, settings)
    _refuse_dropped(route, body)
    strict = with_strict_tools(body)
    if route in _AUDIO:
        # Where vLLM aborts one of these, it aborts all that have the same id.
        headers["x-request-id"] = job_id
        content, headers["content-type"] = await _audio_form(body, settings)
    else:
        content = json_text(_sampling_all(route, strict or body, decoding)).encode()
    request = VLLMRequest(job.method, job.route, content, headers)
    return Prepared(request, decoding, _can_buffer(route, body), strict is not None)


def _current(route: OpenRoute, body: dict[str, Any]) -> dict[str, Any]:
    """The body as this version of vLLM wants it."""
    body = with_current_names(body)
    if "messages" in body:
        body = body | {"messages": _messages(body["messages"])}
    if route == _RESPONSES:
        # OpenAI takes null for the default. So does vLLM, but fails when its answer repeats it.
        body = {name: value for name, value in body.items() if value is not None}
        if isinstance(body.get("input"), list):
            body["input"] = [_with_text_output(item) for item in body["input"]]
    return body


def _with_text_output(item: Any) -> Any:
    """The result of a tool as one text: vLLM fails on a list of parts in an item with a status."""
    output = item.get("output") if isinstance(item, dict) else None
    if not isinstance(output, list) or not all(isinstance(part, dict) for part in output):
        return item
    texts = [part.get("text") for part in output if part.get("type") in _TEXT_PARTS]
    if len(texts) < len(output) or not all(isinstance(text, str) for text in texts):
        return item
    return item | {"output": "\n".join(map(str, texts))}


def _messages(value: Any) -> list[Any]:
    """Messages as a list: vLLM would answer anything else with Python's own error."""
    messages = as_messages(value)
    if not isinstance(messages, list):
        why = f"should be an array of messages or a string, not {json_type(value)}"
        raise BadRequest(f"messages {why}.", "messages")
    return messages


def _can_buffer(route: OpenRoute, body: Mapping[str, Any]) -> bool:
    """Whether this is one stream whose events may stand for several tokens each.

    Parsers of tool calls read what the model says token by token. Log-probabilities make large
    events, and several of them too large a chunk.
    """
    if route not in (CHAT, COMPLETIONS) or body.get("n") not in (None, 1) or body.get("tools"):
        return False
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not all(isinstance(token, int) for token in prompt[:1]):
        return False  # a list of prompts is as many streams
    return all(body.get(name) is None or body[name] is False for name in _PER_TOKEN)


def with_best(answer: dict[str, Any], job: OpenAIJob, decoding: DecodingParams) -> dict[str, Any]:
    """The answer to a request for `best_of` samples, with the best of each prompt's."""
    choices, samples = answer["choices"], decoding.best_of or decoding.n
    chosen: list[dict[str, Any]] = []
    for start in range(0, len(choices), samples):
        drawn = choices[start : start + samples]
        chosen += best(drawn, [_logprob(choice) for choice in drawn], decoding.n)
    for index, choice in enumerate(chosen):
        choice["index"] = index
        _drop_unasked(choice, job.body or {})
    return answer | {"choices": chosen}


def _drop_unasked(choice: dict[str, Any], body: Mapping[str, Any]) -> None:
    """Removes log-probabilities that the worker wanted; with `echo` vLLM adds the prompt's."""
    if body.get("logprobs") is None or body["logprobs"] is False:
        choice["logprobs"] = None
        if body.get("prompt_logprobs") is None and "prompt_logprobs" in choice:
            choice["prompt_logprobs"] = None


def _sampling_all(
    route: OpenRoute, body: dict[str, Any], decoding: DecodingParams
) -> dict[str, Any]:
    """The body, asking for all samples and for the log-probabilities that tell the best."""
    if not decoding.from_samples:
        return body
    logprobs = True if route == CHAT else body.get("logprobs") or 0
    return body | {"n": decoding.best_of, "logprobs": logprobs}


def _logprob(choice: dict[str, Any]) -> float:
    """Cumulative log-probability, from the form of a chat or of a completion."""
    logprobs = choice["logprobs"] or {}
    if "token_logprobs" in logprobs:
        return sum(logprob or 0.0 for logprob in logprobs["token_logprobs"])
    return sum(float(token["logprob"]) for token in logprobs.get("content") or [])


def _refuse_closed(body: Mapping[str, Any], settings: Settings) -> None:
    """Fields by which a request could reach beyond its own answer; vLLM guards others by itself."""
    for name in sorted(CLOSED_FIELDS - set(settings.trusted_request_fields)):
        if body.get(name):
            why = "is not allowed in requests (the operator can allow it with TRUST_REQUEST_FIELDS)"
            raise BadRequest(f"{name} {why}.", name)


def _refuse_dropped(route: OpenRoute, body: Mapping[str, Any]) -> None:
    """Parameters that vLLM would drop without a word on this route."""
    if route not in _STRUCTURED and body.get("structured_outputs"):
        why = f"(or guided_…) is a parameter of {', '.join(_STRUCTURED)}, not of {route}"
        raise BadRequest(f"structured_outputs {why}.", "structured_outputs")
    kept = _KEPT_ELSEWHERE.get(route)
    if kept and body.get(kept) is not None:
        why = "is not supported: the worker keeps no conversations. Send all messages each time"
        raise BadRequest(f"{kept} {why}.", kept)
    if route in (CHAT, COMPLETIONS):
        return
    # Of audio vLLM makes beam searches itself, as wide as n.
    known = {"use_beam_search", "length_penalty"} if route in _AUDIO else set()
    for name in sorted(NAMES - known):
        if body.get(name) not in (None, DecodingParams.model_fields[name].default):
            why = f"is a parameter of {CHAT} and {COMPLETIONS}, not of {route}"
            raise BadRequest(f"{name} {why}.", name)


async def _audio_form(body: Mapping[str, Any], settings: Settings) -> tuple[bytes, str]:
    """The multipart form that these routes take, from its fields as JSON; and its content type."""
    if "file" not in body:
        raise BadRequest("file is missing.", "file")
    limits = settings.audio_max_bytes, settings.audio_fetch_timeout_s
    fields: list[tuple[str, Any]] = [("file", await read_audio(body["file"], *limits))]
    for name, value in body.items():
        if name.removesuffix("[]") == "timestamp_granularities":
            # The one field that may come several times, which OpenAI's clients mark.
            values = value if isinstance(value, list) else [value]
            fields += [("timestamp_granularities[]", _text(name, item)) for item in values]
        elif name != "file" and value is not None:
            fields.append((name, _text(name, value)))
    return encode_multipart_formdata(fields)


def _text(name: str, value: Any) -> str:
    """A field's value as a form has it."""
    if isinstance(value, list):
        raise BadRequest(f"{name} should be a single value, not an array.", name)
    return value if isinstance(value, str) else json_text(value, f"{name}.")
