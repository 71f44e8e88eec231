"""Native jobs as older workers and RunPod's examples write them."""

from typing import Any

import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.inputs import NativeJob, OpenAIJob, parse_job

HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object"}


def native(**value: Any) -> NativeJob:
    job = parse_job(value)
    assert isinstance(job, NativeJob)
    return job


def test_messages_win_over_a_prompt() -> None:
    job = native(prompt="a", messages=HI)
    assert (job.prompt, job.chat) == (None, HI)


def test_null_is_not_given() -> None:
    job = native(prompt="a", messages=None, stream=None, sampling_params={"max_tokens": None})
    assert job == native(prompt="a")
    assert native(prompt="a", sampling_params=None, openai_route=None) == native(prompt="a")


def test_a_whole_number_may_have_a_fraction_of_zero() -> None:
    job = native(prompt="a", max_batch_size=8.0, sampling_params={"max_tokens": 50.0})
    assert (job.max_batch_size, job.sampling_params) == (8, {"max_tokens": 50})
    assert isinstance(job.sampling_params["max_tokens"], int)


def test_parameters_beside_sampling_params_are_taken_and_those_inside_win(
    worker_log: pytest.LogCaptureFixture,
) -> None:
    job = native(prompt="a", temperature=0.5, top_k=3, sampling_params={"top_k": 4})
    assert job.sampling_params == {"temperature": 0.5, "top_k": 4}
    assert "taken as sampling parameters: temperature, top_k" in worker_log.text
    assert native(prompt="a", max_new_tokens=5).sampling_params == {"max_tokens": 5}
    assert native(prompt="a", guided_regex="b+").sampling_params == {"guided_regex": "b+"}


@pytest.mark.parametrize(
    ("response_format", "constraint"),
    [
        ({"type": "json_object"}, {"json_object": True}),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, {"json": SCHEMA}),
        ({"type": "text"}, None),
    ],
)
def test_openais_response_format_is_a_constraint(
    response_format: dict[str, Any], constraint: dict[str, Any] | None
) -> None:
    for job in (
        native(prompt="a", response_format=response_format),
        native(prompt="a", sampling_params={"response_format": response_format}),
    ):
        assert job.sampling_params.get("structured_outputs") == constraint


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"response_format": "json"}, "response_format.type must be text, json_object or"),
        ({"response_format": {}}, "response_format.type must be text"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "Give only one of response_format and structured_outputs.",
        ),
        ({"response_format": {"type": "json_schema"}}, "json_schema.schema should be an object"),
        ({"max_token": 5}, 'Did you mean "max_tokens"?'),
        ({"promt": "a"}, 'Did you mean "prompt"?'),
        ({"chat_template": "{{ x }}"}, "chat_template cannot be set"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template cannot be set there"),
        ({"chat_template_kwargs": {"max_length": 10**9}}, "max_length cannot be set there"),
        (
            {"response_format": {"type": "json_object"}, "guided_json": {}},
            "Give only one of response_format and guided_json.",
        ),
        ({"truncate_prompt_tokens": -2}, "should be greater than or equal to -1"),
        ({"sampling_params": []}, "sampling_params should be a valid dictionary"),
    ],
)
def test_what_cannot_be_meant(value: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_job({"prompt": "a"} | value)
    assert says in raised.value.message


def test_a_field_that_nobody_knows_is_dropped() -> None:
    assert native(prompt="a", workflow={"x": 1}, user="me", **{"": 1}) == native(prompt="a")


def test_what_is_for_the_prompt_may_be_in_sampling_params() -> None:
    job = native(messages=HI, sampling_params={"truncate_prompt_tokens": 5, "n": 2})
    assert (job.truncate_prompt_tokens, job.sampling_params) == (5, {"n": 2})


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"messages": HI}, "/v1/chat/completions"),
        ({"prompt": "a"}, "/v1/completions"),
        ({}, "/v1/chat/completions"),
    ],
)
def test_a_body_without_a_route_is_a_chat_or_a_completion(body: dict[str, Any], route: str) -> None:
    job = parse_job({"openai_input": body, "webhook": "x"})
    assert isinstance(job, OpenAIJob)
    assert (job.route, job.method, job.body) == (route, "POST", body)


def test_a_number_that_is_too_large_to_be_exact_stays_as_it_is() -> None:
    job = native(prompt="a", sampling_params={"seed": 1e300})
    assert isinstance(job.sampling_params["seed"], float)


def test_a_message_does_not_grow_with_what_is_wrong() -> None:
    with pytest.raises(BadRequest) as raised:
        parse_job({"messages": [1] * 1000})
    assert raised.value.message.endswith(" And 990 more.")
    assert len(raised.value.message) < 2000
