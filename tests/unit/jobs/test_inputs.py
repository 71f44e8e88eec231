from typing import Any

import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.inputs import NativeJob, OpenAIJob, parse_job

CHAT = "/v1/chat/completions"


def openai(value: dict[str, Any]) -> OpenAIJob:
    job = parse_job(value)
    assert isinstance(job, OpenAIJob)
    return job


def native(value: dict[str, Any]) -> NativeJob:
    job = parse_job(value)
    assert isinstance(job, NativeJob)
    return job


@pytest.mark.parametrize(
    ("value", "method"),
    [
        ({"openai_route": CHAT, "openai_input": {"messages": []}}, "POST"),
        ({"openai_route": "/v1/models"}, "GET"),
        ({"openai_route": "/v1/models", "openai_input": {}}, "GET"),
        ({"openai_route": "/v1/models", "openai_input": None}, "GET"),
        ({"route": CHAT, "body": {"messages": []}}, "POST"),
        ({"route": "/v1/models"}, "GET"),
        ({"route": "/v1/responses/1/cancel", "method": "POST"}, "POST"),
    ],
)
def test_a_request_is_a_post_when_it_has_a_body_or_says_so(
    value: dict[str, Any], method: str
) -> None:
    job = openai(value)
    assert job.method == method
    assert job.route == value.get("route", value.get("openai_route"))


def test_messages_and_prompts_under_the_chat_template_are_a_chat() -> None:
    messages = [{"role": "user", "content": "Hi", "name": "Ann"}]
    assert native({"messages": messages}).chat == messages
    assert native({"messages": "Hi"}).chat == [{"role": "user", "content": "Hi"}]
    assert native({"prompt": "Hi"}).chat is None
    templated = native({"prompt": "Hi", "apply_chat_template": True})
    assert templated.chat == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("value", "param", "message"),
    [
        ([], "input", "input must be an object, not an empty array."),
        (None, "input", "input must be an object, not null."),
        ("hi", "input", "input must be an object, not a string."),
        ({}, None, "Give prompt or messages; neither was given."),
        ({"prompt": 5}, "prompt", "prompt should be a valid string, not 5."),
        ({"messages": []}, "messages", "messages must not be empty."),
        ({"messages": [{}]}, "messages.0.role", "messages.0.role is missing."),
        ({"messages": 5}, "messages", "messages should be a valid list, not 5."),
        (
            {"prompt": "a", "stream": "yes"},
            "stream",
            "stream should be a valid boolean, not a string.",
        ),
        (
            {"prompt": "a", "max_batch_size": 0},
            "max_batch_size",
            "max_batch_size should be greater than or equal to 1, not 0.",
        ),
        (
            {"prompt": "a", "min_batch_size": 1.5},
            "min_batch_size",
            "min_batch_size should be a valid integer, not 1.5.",
        ),
        (
            {"prompt": "a", "batch_size_growth_factor": 0.9},
            "batch_size_growth_factor",
            "batch_size_growth_factor should be greater than or equal to 1, not 0.9.",
        ),
        (
            {"prompt": "a", "max-tokens": 5},
            "max-tokens",
            'max-tokens is not a field of this input. Did you mean "max_tokens"?',
        ),
        (
            {"prompt": "a", "max_batch_size": 10**400},
            "max_batch_size",
            "max_batch_size is an integer that does not fit in 64 bits.",
        ),
        (
            {"prompt": "\ud800"},
            "prompt",
            "prompt has an unpaired surrogate, which is not valid text.",
        ),
        (
            {"route": "//host/v1/models"},
            "route",
            "route must start with a slash, such as /v1/chat/completions.",
        ),
        ({"promt": "a"}, "promt", 'promt is not a field of this input. Did you mean "prompt"?'),
        ({"body": {}}, "route", "route is missing."),
        (
            {"openai_route": CHAT, "openai_headers": {"X-Foo": "a"}},
            "openai_headers",
            "openai_headers: X-Foo is not among x-request-id, x-session-id, x-vllm-priority, "
            "traceparent, tracestate.",
        ),
        (
            {"route": CHAT, "headers": {"X-Request-Id": 5}},
            "headers",
            "headers: X-Request-Id should be a string of printable ASCII characters.",
        ),
        (
            {"route": CHAT, "headers": {"X-Request-Id": "x" * 513}},
            "headers",
            "headers: X-Request-Id is longer than 512 characters.",
        ),
        (
            {"openai_route": "v1/models"},
            "openai_route",
            "openai_route must start with a slash, such as /v1/chat/completions.",
        ),
        (
            {"openai_route": CHAT, "openai_input": []},
            "openai_input",
            "openai_input should be a valid dictionary, not an empty array.",
        ),
        (
            {"route": CHAT, "method": "FETCH"},
            "method",
            'method must be "GET", "POST", "PUT", "PATCH" or "DELETE".',
        ),
    ],
)
def test_wrong_input_is_named(value: Any, param: str | None, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_job(value)
    assert (raised.value.param, raised.value.message) == (param, message)


def test_input_that_is_nested_too_deeply_is_refused() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadRequest, match="nested too deeply"):
        parse_job({"prompt": "a", "sampling_params": {"x": nested}})


def test_all_wrong_fields_are_in_the_message() -> None:
    with pytest.raises(BadRequest) as raised:
        parse_job({"prompt": "a", "stream": 1, "max_batch_size": "x"})
    assert "stream should be" in raised.value.message
    assert "max_batch_size should be" in raised.value.message
