"""Responses and Messages, through the packages openai and anthropic, and the smaller routes."""

from typing import Any

import anthropic
import openai
import pytest
import runpod

from tests.support.waiting import eventually

QUESTION = "What is vLLM?"
GREEDY = {"temperature": 0}
TOOL = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
}


# Responses


def test_a_response(client: openai.OpenAI) -> None:
    response = client.responses.create(model="demo", input=QUESTION, temperature=0)
    assert response.status == "completed"
    assert response.output_text.startswith("vLLM is")
    assert response.usage.output_tokens > 0
    beta = client.beta.responses.create(model="demo", input=QUESTION, temperature=0)
    assert beta.output[0].content[0].text == response.output_text
    again = client.responses.retrieve(response.id)
    assert again.output_text == response.output_text


def test_a_streamed_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="demo", input=QUESTION, temperature=0)
    with client.responses.stream(model="demo", input=QUESTION, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(deltas) > 5
    assert "".join(deltas) == final.output_text == whole.output_text


def test_a_response_goes_on_from_an_earlier_one(client: openai.OpenAI) -> None:
    first = client.responses.create(model="demo", input=QUESTION, temperature=0)
    second = client.responses.create(
        model="demo", input="And RunPod?", previous_response_id=first.id, temperature=0
    )
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


def test_a_response_in_the_background_can_be_cancelled(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="demo", input=QUESTION, background=True, max_output_tokens=1500,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    assert response.status in ("queued", "in_progress")
    cancelled = client.responses.cancel(response.id)
    assert cancelled.status == "cancelled"
    eventually(lambda: client.responses.retrieve(response.id).status == "cancelled")


def test_an_unknown_response_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nothing")


def test_a_response_can_call_a_tool(client: openai.OpenAI) -> None:
    tool = {"type": "function", "name": TOOL["name"], "description": TOOL["description"],
            "parameters": TOOL["input_schema"]}  # fmt: skip
    response = client.responses.create(
        model="demo", input="What is the weather in Paris?", tools=[tool], temperature=0
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')


# Messages


def test_a_message(claude: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    message = claude.messages.create(
        model="demo", max_tokens=100, messages=messages, extra_body=GREEDY
    )
    assert message.stop_reason == "end_turn"
    (block,) = message.content
    assert block.text.startswith("vLLM is")
    count = claude.messages.count_tokens(model="demo", messages=messages)
    assert count.input_tokens == message.usage.input_tokens


def test_a_streamed_message(claude: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    call = {"model": "demo", "max_tokens": 100, "messages": messages, "extra_body": GREEDY}
    with claude.messages.stream(**call) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(texts) > 5
    assert "".join(texts) == final.content[0].text
    assert final.content[0].text == claude.messages.create(**call).content[0].text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


def test_a_message_can_use_a_tool(claude: anthropic.Anthropic) -> None:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    call = {"model": "demo", "max_tokens": 100, "tools": [TOOL], "extra_body": GREEDY}
    message = claude.messages.create(**call, messages=[question])
    assert message.stop_reason == "tool_use"
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert (use.name, use.input) == ("get_weather", {"city": "Paris"})
    with claude.messages.stream(**call, messages=[question]) as stream:
        streamed = stream.get_final_message()
    (same,) = [block for block in streamed.content if block.type == "tool_use"]
    assert same.input == use.input
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "19 degrees, cloudy"}
    turns = [
        question,
        {"role": "assistant", "content": [use.model_dump(exclude={"caller"})]},
        {"role": "user", "content": [result]},
    ]
    answer = claude.messages.create(**call, messages=turns)
    assert "19" in answer.content[-1].text


def test_a_thread_is_refused_in_words_that_anthropics_clients_know(
    claude: anthropic.Anthropic,
) -> None:
    """Their tool runner sends the whole conversation then, instead of what is new in it."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    with pytest.raises(anthropic.BadRequestError, match="thread is not supported") as refused:
        claude.messages.create(
            model="demo", max_tokens=5, messages=messages, extra_body={"thread": thread}
        )
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert refused.value.body["error"]["details"] == details


def test_a_conversation_that_openai_would_keep_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Send all messages") as refused:
        client.responses.create(model="demo", input=QUESTION, conversation="conv_1")
    assert refused.value.body["param"] == "conversation"


def test_errors_of_messages(claude: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nope", max_tokens=5, messages=messages)
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model="demo", max_tokens=-5, messages=messages)


# The smaller routes


def test_tokenize_and_back(runpod_endpoint: runpod.Endpoint) -> None:
    def call(route: str, **body: object) -> dict:
        (output,) = runpod_endpoint.run_sync({"openai_route": route, "openai_input": body})
        return output

    tokens = call("/tokenize", model="demo", prompt="RunPod is")
    assert tokens["count"] == len(tokens["tokens"])
    assert tokens["max_model_len"] == 2048
    text = call("/detokenize", model="demo", tokens=tokens["tokens"])
    assert text == {"prompt": "RunPod is"}
    chat = call("/tokenize", model="demo", messages=[{"role": "user", "content": "RunPod is"}])
    assert chat["count"] > tokens["count"]


def test_version_and_health(runpod_endpoint: runpod.Endpoint) -> None:
    (version,) = runpod_endpoint.run_sync({"openai_route": "/version"})
    assert version["version"].startswith("0.")
    assert runpod_endpoint.run_sync({"openai_route": "/health"}) == [""]
    (described,) = runpod_endpoint.run_sync({"openai_route": "/openapi.json"})
    assert "/v1/chat/completions" in described["paths"]


def test_chats_in_one_request(runpod_endpoint: runpod.Endpoint) -> None:
    chats = [[{"role": "user", "content": question}] for question in (QUESTION, "What is RunPod?")]
    body = {"model": "demo", "messages": chats, "max_tokens": 60, **GREEDY}
    job = {"openai_route": "/v1/chat/completions/batch", "openai_input": body}
    (answer,) = runpod_endpoint.run_sync(job)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts[0].startswith("vLLM is")
    assert "RunPod" in texts[1]


def test_the_likelihood_of_answers(runpod_endpoint: runpod.Endpoint) -> None:
    body = {"model": "demo", "query": "Is it so?", "items": [" yes", " no"]}
    job = {"openai_route": "/generative_scoring"}
    (answer,) = runpod_endpoint.run_sync(
        job | {"openai_input": body | {"label_token_ids": [300, 301]}}
    )
    assert len(answer["data"]) == 2
