"""What clients see, through the unmodified openai and runpod packages."""

import json
import re
from typing import Any

import openai
import pytest
import runpod

from tests.support.stream_gate import StreamGate
from tests.support.waiting import eventually

QUESTION = [{"role": "user", "content": "What is RunPod?"}]
GREEDY = {"temperature": 0, "max_tokens": 160}
LONG = {"max_tokens": 160, "ignore_eos": True, "temperature": 0}


def gateway(body: dict[str, Any]) -> dict[str, Any]:
    return {"openai_route": "/v1/chat/completions", "openai_input": body}


def text_of_events(chunk: str) -> str:
    data = [event.removeprefix("data: ") for event in chunk.split("\n\n") if event]
    events = [json.loads(event) for event in data if event != "[DONE]"]
    return "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])


def text(outputs: list[dict[str, Any]]) -> str:
    return "".join(text for output in outputs for text in output["choices"][0]["tokens"])


# The native path


def test_run_sync_gives_one_output(runpod_endpoint: runpod.Endpoint) -> None:
    (output,) = runpod_endpoint.run_sync({"messages": QUESTION, "sampling_params": GREEDY})
    (choice,) = output["choices"]
    assert choice["finish_reason"] == "stop"
    assert "RunPod" in choice["tokens"][0]
    assert 0 < output["usage"]["output"] < 160


def test_run_gives_a_job_to_wait_for(runpod_endpoint: runpod.Endpoint) -> None:
    job = runpod_endpoint.run({"prompt": "RunPod is", "sampling_params": LONG})
    eventually(lambda: job.status() == "COMPLETED")
    (output,) = job.output()
    assert output["usage"]["output"] == 160
    assert output["choices"][0]["finish_reason"] == "length"


def test_a_stream_comes_in_growing_chunks(runpod_endpoint: runpod.Endpoint) -> None:
    job = runpod_endpoint.run({"prompt": "RunPod is", "stream": True, "sampling_params": LONG})
    chunks = list(job.stream())
    totals = [chunk["usage"]["output"] for chunk in chunks]
    assert totals == [1, 4, 13, 40, 90, 140, 160]
    assert [len(chunk["choices"][0]["tokens"]) for chunk in chunks] == [1, 3, 9, 27, 50, 50, 20]
    assert ["finish_reason" in chunk["choices"][0] for chunk in chunks] == [False] * 6 + [True]
    (whole,) = runpod_endpoint.run_sync({"prompt": "RunPod is", "sampling_params": LONG})
    assert text(chunks) == text([whole])


def test_many_streams_cost_few_posts(runpod_endpoint: runpod.Endpoint, gate: StreamGate) -> None:
    """By the schedule 1, 3, 9, 27, 50, 50 and 20 tokens, however many streams there are."""
    native = {"prompt": "RunPod is", "stream": True, "sampling_params": LONG}
    chat = {"messages": QUESTION, "stream": True, "model": "demo"} | LONG
    assert posts_of_16(native, runpod_endpoint, gate) == 16 * 7
    # Fewer where the loop was busy: a chunk is then all that the engine has held.
    assert 16 * 2 <= posts_of_16(gateway(chat), runpod_endpoint, gate) <= 16 * 7


def posts_of_16(job: dict[str, Any], endpoint: runpod.Endpoint, gate: StreamGate) -> int:
    before = gate.posts
    running = [endpoint.run(job) for _ in range(16)]
    assert all(each.output(timeout=60) for each in running)
    return gate.posts - before


def test_a_job_can_choose_its_chunks(runpod_endpoint: runpod.Endpoint) -> None:
    sizes = {"min_batch_size": 2, "max_batch_size": 10, "batch_size_growth_factor": 2}
    job = {"prompt": "RunPod is", "stream": True, "sampling_params": LONG | {"max_tokens": 34}}
    chunks = runpod_endpoint.run_sync(job | sizes)
    assert [chunk["usage"]["output"] for chunk in chunks] == [2, 6, 14, 24, 34]


def test_a_prompt_can_be_put_under_the_chat_template(runpod_endpoint: runpod.Endpoint) -> None:
    prompt = {"prompt": QUESTION[0]["content"], "apply_chat_template": True}
    (templated,) = runpod_endpoint.run_sync(prompt | {"sampling_params": GREEDY})
    (chat,) = runpod_endpoint.run_sync({"messages": QUESTION, "sampling_params": GREEDY})
    assert templated == chat


def test_several_choices(runpod_endpoint: runpod.Endpoint) -> None:
    sampling = {"n": 3, "max_tokens": 5, "ignore_eos": True}
    (whole,) = runpod_endpoint.run_sync({"prompt": "x", "sampling_params": sampling})
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["length"] * 3
    assert whole["usage"]["output"] == 15
    chunks = runpod_endpoint.run_sync({"prompt": "x", "stream": True, "sampling_params": sampling})
    assert chunks[-1]["usage"]["output"] == 15
    assert [choice["finish_reason"] for choice in chunks[-1]["choices"]] == ["length"] * 3


def test_health_and_purge(runpod_endpoint: runpod.Endpoint) -> None:
    health = runpod_endpoint.health(timeout=30)
    assert health["workers"]["idle"] + health["workers"]["running"] == 1
    assert runpod_endpoint.purge_queue() == {"removed": 0, "status": "completed"}


# The OpenAI path


def test_models(client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    assert listed.id == "demo"
    found = client.models.retrieve("demo")
    varying = {"permission", "created"}  # vLLM makes these anew each time
    assert found.model_dump(exclude=varying) == listed.model_dump(exclude=varying)
    with pytest.raises(openai.NotFoundError, match="The model `org/other` does not exist"):
        client.models.retrieve("org/other")


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=QUESTION, **GREEDY)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert "RunPod" in choice.message.content
    chunks = list(
        client.chat.completions.create(model="demo", messages=QUESTION, stream=True, **GREEDY)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed == choice.message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt="RunPod is", **GREEDY)
    chunks = client.completions.create(model="demo", prompt="RunPod is", stream=True, **GREEDY)
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text
    assert answer.usage.completion_tokens > 0


def test_a_raw_openai_job_streams_whole_events_in_few_chunks(
    runpod_endpoint: runpod.Endpoint,
) -> None:
    body = {"model": "demo", "messages": QUESTION} | LONG
    streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
    (answer,) = runpod_endpoint.run_sync(gateway(body))
    chunks = runpod_endpoint.run_sync(gateway(streamed))
    assert all(chunk.startswith("data: ") and chunk.endswith("\n\n") for chunk in chunks)
    # Each brings all its tokens in one event. The first also has the role, the last the usage.
    first, *middle, last = [chunk.count("data: {") for chunk in chunks]
    assert (first, set(middle), last) == (2, {1}, 2)
    # By the schedule seven; fewer where a post took as long as the tokens of the next chunk.
    assert 3 <= len(chunks) <= 7
    assert "".join(map(text_of_events, chunks)) == answer["choices"][0]["message"]["content"]
    assert chunks[-1].endswith("data: [DONE]\n\n")


def test_the_general_form_of_a_job(runpod_endpoint: runpod.Endpoint) -> None:
    (models,) = runpod_endpoint.run_sync({"route": "/v1/models"})
    (same,) = runpod_endpoint.run_sync({"openai_route": "/v1/models", "openai_input": {}})
    assert models["data"][0]["id"] == same["data"][0]["id"] == "demo"
    body = {"model": "demo", "prompt": "RunPod is", "max_tokens": 3}
    (tokens,) = runpod_endpoint.run_sync({"route": "/tokenize", "body": body, "method": "POST"})
    assert tokens["count"] == len(tokens["tokens"])


def test_errors_have_their_true_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nope", messages=QUESTION)
    assert unknown.value.body["param"] == "model"
    with pytest.raises(openai.BadRequestError) as too_long:
        client.completions.create(model="demo", prompt="word " * 5000, max_tokens=5)
    assert re.search(r"maximum context length is 2048 .* \d{4,}", str(too_long.value))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="demo", messages=QUESTION, temperature=-1, stream=True)


def test_usage_logprobs_and_ids_are_vllms(
    client: openai.OpenAI, runpod_endpoint: runpod.Endpoint
) -> None:
    chat = {"model": "demo", "messages": QUESTION, "max_tokens": 4, "temperature": 0}
    chunks = list(
        client.chat.completions.create(
            **chat, stream=True, stream_options={"include_usage": True}, logprobs=True,
            top_logprobs=2, extra_headers={"X-Request-Id": "mine"},
        )
    )  # fmt: skip
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    given = [chunk.choices[0].logprobs for chunk in chunks[:-1]]
    tokens = [token for logprobs in given if logprobs for token in logprobs.content]
    assert len(tokens) == 4
    assert all(len(token.top_logprobs) == 2 for token in tokens)
    assert {chunk.id for chunk in chunks} == {"chatcmpl-mine"}
    job = {"openai_route": "/v1/chat/completions?x=y", "openai_input": chat}
    (answer,) = runpod_endpoint.run_sync(job | {"openai_headers": {"X-Request-Id": "yours"}})
    assert answer["id"] == "chatcmpl-yours"
    assert answer["choices"][0]["message"].keys() >= {"content", "refusal", "reasoning"}
    (answer,) = runpod_endpoint.run_sync(job)
    assert answer["id"].startswith("chatcmpl-sync-")


# Bad input


def failure(endpoint: runpod.Endpoint, job: Any) -> dict[str, Any]:
    answer = endpoint.rp_client.post("local/runsync", {"input": job}, timeout=60)
    assert answer["status"] == "FAILED", answer
    return json.loads(answer["error"])


@pytest.mark.parametrize(
    ("job", "code", "says"),
    [
        ("hi", 400, "input must be an object, not a string"),
        ([{"prompt": "x"}], 400, "input must be an object, not an array"),
        (None, 400, "input must be an object, not null"),
        ({"stream": True}, 400, "Give prompt or messages; neither"),
        ({"prompt": ["x"]}, 400, "prompt should be a valid string"),
        ({"prompt": "x", "sampling_params": []}, 400, "sampling_params should be"),
        ({"prompt": "x", "sampling_params": {"max_token": 5}}, 400, '"max_tokens"?'),
        ({"prompt": "x", "sampling_params": {"zzz": 5}}, 400, "Sampling parameters: "),
        (
            {"prompt": "x", "sampling_params": {"max_tokens": "x"}},
            400,
            "sampling_params.max_tokens",
        ),
        ({"prompt": "x", "sampling_params": {"top_p": 2}}, 400, "top_p"),
        ({"prompt": "x", "sampling_params": {"n": "many"}}, 400, "sampling_params.n"),
        ({"prompt": "x", "max_batch_size": 0}, 400, "max_batch_size"),
        ({"prompt": "x", "min_batch_size": -1}, 400, "min_batch_size"),
        ({"prompt": "x", "batch_size_growth_factor": 0.5}, 400, "batch_size_growth_factor"),
        ({"route": "/sleep", "method": "POST"}, 403, "/sleep is closed to jobs"),
        ({"openai_route": "/v1/nope"}, 404, "/v1/nope is not a route"),
        ({"openai_route": "/v1/chat/completion"}, 404, 'Did you mean "/v1/chat/completions"?'),
        ({"openai_route": "/v1/nope", "openai_input": {"a": 1}}, 404, "/v1/nope is not a route"),
        (
            {"prompt": "x", "sampling_params": {"max_tokens": "5"}},
            400,
            "sampling_params.max_tokens",
        ),
        ({"prompt": "x", "sampling_params": {"n": 0}}, 400, "n must be at least 1"),
        ({"prompt": "x", "sampling_params": {"seed": 10**30}}, 400, "64 bits"),
        (
            {"openai_route": "/v1/models", "openai_headers": {"Authorization": "x"}},
            400,
            "openai_headers: Authorization is not among x-request-id",
        ),
        (
            {"route": "/v1/models", "headers": {"X-Request-Id": "a\nb"}},
            400,
            "headers: X-Request-Id should be a string of printable",
        ),
        (
            {"openai_route": "/v1/messages", "openai_input": {"guided_json": {}, "a": 1}},
            400,
            "guided",
        ),
        ({"openai_route": "/v1/models/"}, 404, "/v1/models/ is not a route"),
        ({"openai_route": "/v1/chat/completions"}, 405, "takes POST, not GET"),
        ({"route": "/v1/models", "method": "DELETE"}, 405, "takes GET, not DELETE"),
        ({"prompt": "word " * 5000}, 400, "maximum context length is 2048"),
        ({"prompt": "word " * 5000, "stream": True}, 400, "maximum context length is 2048"),
    ],
)
def test_bad_input_fails_the_job_and_only_that(
    runpod_endpoint: runpod.Endpoint, job: Any, code: int, says: str
) -> None:
    error = failure(runpod_endpoint, job)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert says in error["message"]
    (output,) = runpod_endpoint.run_sync({"prompt": "Hi", "sampling_params": {"max_tokens": 2}})
    assert output["usage"]["output"] > 0
