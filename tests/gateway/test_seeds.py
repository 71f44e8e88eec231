"""What the pages of LLMariner, Lamini and NeMo show of such a gateway, row by row.

docs/gateway.md has the rows.
"""

import json
import subprocess
from typing import Any

import openai
import pytest

from tests.gateway.running import Gateway

pytestmark = pytest.mark.slow
QUESTION: Any = [{"role": "user", "content": "What is the best llama?"}]
SCHEMA = {"type": "object", "properties": {"answer": {"type": "boolean"}}, "required": ["answer"]}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get current weather for a given location.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"enum": ["Paris", "Rome"]}},
            "required": ["location"],
        },
        "strict": True,
    },
}


def text_of(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_llmariner_chat_with_a_stream(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{gateway.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "alice's")
    with openai.OpenAI() as client:
        assert text_of(
            client.chat.completions.create(model="default/demo", messages=QUESTION, stream=True)
        )


def test_llmariner_tool_calling(alice: openai.OpenAI) -> None:
    answer = alice.chat.completions.create(
        model="team-a/http", messages=QUESTION, tools=[WEATHER], tool_choice="required"
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments)["location"] in ("Paris", "Rome")


def test_llmariner_audio_and_responses(alice: openai.OpenAI) -> None:
    # Uploads are in test_gateway.py.
    said = alice.responses.create(model="default/demo", input="What is RunPod?", stream=True)
    assert "response.completed" in [event.type for event in said]


@pytest.mark.parametrize("model", ["team-a/queue", "team-a/http"])
def test_lamini_json_output(model: str, alice: openai.OpenAI) -> None:
    form: Any = {
        "type": "json_schema", "json_schema": {"name": "json_response", "schema": SCHEMA},
    }  # fmt: skip
    answer = alice.chat.completions.create(model=model, messages=QUESTION, response_format=form)
    assert isinstance(json.loads(answer.choices[0].message.content or "")["answer"], bool)


def test_lamini_further_parameters_and_cache(alice: openai.OpenAI) -> None:
    def ask() -> str:
        answer = alice.chat.completions.create(
            model="default/demo", messages=QUESTION, temperature=0.5, max_tokens=100,
            extra_body={"cache": {"ttl": 600}},
        )  # fmt: skip
        return answer.id

    assert ask() == ask()


def test_lamini_models(gateway: Gateway) -> None:
    headers = ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer alice's"]
    listed = subprocess.check_output(["curl", "-s", f"{gateway.url}/v1/models", *headers])
    assert "default/demo" in [model["id"] for model in json.loads(listed)["data"]]


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/apis/inference-gateway/v2/workspaces/default/openai/-/v1", "default/demo"),
        ("/apis/inference-gateway/v2/workspaces/default/provider/queue/-/v1", "demo"),
        ("/provider/queue/v1", "demo"),
        ("/v1", "default/demo"),
    ],
)
def test_nemo_routes(path: str, model: str, gateway: Gateway) -> None:
    """By model entity, by provider, and by OpenAI's route, with a stream too."""
    with gateway.client("alice's", path) as client:
        chat = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=100)
        assert chat.choices[0].message.content
        assert text_of(
            client.chat.completions.create(
                model=model, messages=QUESTION, max_tokens=100, stream=True
            )
        )
        assert client.models.list().data


def test_nemo_names(alice: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="meta-llama-3-3-70b-instruct"):
        alice.chat.completions.create(model="meta/llama-3.3-70b-instruct", messages=QUESTION)
