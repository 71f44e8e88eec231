"""The gateway by unmodified clients."""

import json
import re
import subprocess
from functools import partial
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.gateway.running import KEYS, Gateway, jobs
from tests.support.audio import sound
from tests.support.served_model import NAME
from tests.support.small_models import HIDDEN
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess
from vllm_worker.gateway.names import would_do

pytestmark = pytest.mark.slow
QUESTION: Any = [{"role": "user", "content": "What is RunPod?"}]
FOUND = would_do(f"found/{NAME}", ["found"])
GREEDY: Any = {"temperature": 0, "max_tokens": 30}


@pytest.mark.parametrize("model", ["team-a/queue", "team-a/http", "default/demo"])
def test_a_chat_goes_to_a_provider_of_the_entity(model: str, alice: openai.OpenAI) -> None:
    answered = alice.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, **GREEDY
    )
    provider = answered.headers["x-provider"]
    assert provider in ("queue", "http")
    assert model.endswith((provider, "demo"))
    chat = answered.parse()
    assert chat.model == model
    assert "RunPod" in (chat.choices[0].message.content or "")
    assert chat.usage
    assert chat.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["team-a/queue", "team-a/http"])
def test_a_stream_comes_in_parts(model: str, alice: openai.OpenAI) -> None:
    whole = alice.chat.completions.create(model=model, messages=QUESTION, **GREEDY)
    stream = alice.chat.completions.create(model=model, messages=QUESTION, stream=True, **GREEDY)
    parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(parts) >= 5
    assert "".join(parts) == whole.choices[0].message.content


def test_a_stream_says_who_sends_it_under_the_name_that_was_asked_for(
    alice: openai.OpenAI,
) -> None:
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    answered = alice.chat.completions.with_raw_response.create(
        model="default/first", messages=QUESTION, **GREEDY, **options
    )
    assert answered.headers["x-provider"] == "http"
    assert answered.headers["x-cache"] == "miss"
    *chunks, last = answered.parse()
    assert {chunk.model for chunk in chunks} == {"default/first"}
    assert last.usage
    assert last.usage.completion_tokens > 0


@pytest.mark.parametrize("provider", ["queue", "http"])
def test_the_job_of_a_client_that_leaves_ends_at_the_worker(
    provider: str, alice: openai.OpenAI, workers: dict[str, tuple[WorkerProcess, str]]
) -> None:
    worker, _ = workers[provider]

    def cancelled() -> int:
        return len(re.findall(r", cancelled$", worker.log, re.M))

    before = cancelled()
    endless: Any = {"max_tokens": 1900, "extra_body": {"ignore_eos": True}}
    stream = alice.chat.completions.create(
        model=f"team-a/{provider}", messages=QUESTION, stream=True, **endless
    )
    next(stream)
    stream.close()
    eventually(lambda: cancelled() == before + 1)
    with pytest.raises(openai.APITimeoutError):
        alice.with_options(timeout=0.5).chat.completions.create(
            model=f"team-a/{provider}", messages=QUESTION, **endless
        )
    eventually(lambda: cancelled() == before + 2)


@pytest.mark.parametrize("model", ["team-a/queue", "team-a/http"])
def test_other_routes_of_openai(model: str, alice: openai.OpenAI) -> None:
    text = alice.completions.create(model=model, prompt="RunPod is", **GREEDY)
    assert text.choices[0].text
    response = alice.responses.create(model=model, input="What is RunPod?", max_output_tokens=30)
    assert response.output_text


def test_anthropics_client(gateway: Gateway) -> None:
    client = anthropic.Anthropic(base_url=gateway.url, api_key="alice's", max_retries=0)
    said = client.messages.create(model="default/demo", messages=QUESTION, max_tokens=30)
    assert said.content[0].type == "text"
    assert "RunPod" in said.content[0].text


def test_curl(gateway: Gateway) -> None:
    body = json.dumps({"model": "default/demo", "messages": QUESTION, **GREEDY})
    command = ["curl", "-s", f"{gateway.url}/v1/chat/completions", "-d", body]
    headers = ["-H", "Authorization: Bearer alice's", "-H", "Content-Type: application/json"]
    answer = json.loads(subprocess.check_output([*command, *headers]))
    assert "RunPod" in answer["choices"][0]["message"]["content"]


def test_models_are_those_of_the_keys_workspaces(alice: openai.OpenAI, bob: openai.OpenAI) -> None:
    ours = {"team-a/queue", "team-a/http", "team-a/down"}
    others = {"default/demo", "default/first", "default/whisper", FOUND}
    assert {model.id for model in alice.models.list()} == ours | others
    assert {model.id for model in bob.models.list()} == ours


def test_embeddings_of_a_model_that_was_discovered(alice: openai.OpenAI) -> None:
    given = alice.embeddings.create(model=FOUND, input=["a", "b"], encoding_format="float")
    assert len(given.data) == 2
    assert len(given.data[0].embedding) == HIDDEN


def test_an_upload_to_a_queue_is_transcribed(alice: openai.OpenAI) -> None:
    file = ("sound.wav", sound())
    heard = alice.audio.transcriptions.create(
        model="default/whisper", file=file, language="en", temperature=0
    )
    assert heard.text


def test_nemos_path(gateway: Gateway) -> None:
    path = "/apis/inference-gateway/v2/workspaces/default/openai/-/v1"
    with gateway.client("alice's", path) as client:
        chat = client.chat.completions.create(model="default/demo", messages=QUESTION, **GREEDY)
    assert chat.choices[0].message.content


@pytest.mark.parametrize("provider", ["queue", "http"])
def test_a_provider_is_asked_by_its_own_name_of_a_model(provider: str, gateway: Gateway) -> None:
    with gateway.client("alice's", f"/provider/{provider}/v1") as client:
        answered = client.chat.completions.with_raw_response.create(
            model="demo", messages=QUESTION, **GREEDY
        )
        assert answered.headers["x-provider"] == provider
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=QUESTION)


def test_at_a_provider_a_key_has_what_its_entities_lead_to(gateway: Gateway) -> None:
    with gateway.client("bob's", "/provider/queue/v1") as client:
        assert [model.id for model in client.models.list()] == ["demo"]
        client.chat.completions.create(model="demo", messages=QUESTION, max_tokens=1)
        with pytest.raises(openai.PermissionDeniedError, match="queue"):
            client.chat.completions.create(model="an-adapter", messages=QUESTION)
    with (
        gateway.client("bob's", "/provider/ears/v1") as client,
        pytest.raises(openai.PermissionDeniedError, match="ears"),
    ):
        client.chat.completions.create(model=NAME, messages=QUESTION)


@pytest.mark.parametrize("model", ["team-a/queue", "team-a/http"])
def test_a_workers_error_keeps_its_status(model: str, alice: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="temperature"):
            alice.chat.completions.create(
                model=model, messages=QUESTION, temperature=-1, stream=stream
            )


def test_who_may_ask_for_what(gateway: Gateway, bob: openai.OpenAI) -> None:
    with gateway.client("nobody's") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.chat.completions.create(model="default/demo", messages=QUESTION)
    with pytest.raises(openai.PermissionDeniedError, match="workspace default"):
        bob.chat.completions.create(model="default/demo", messages=QUESTION)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        bob.chat.completions.create(model="team-a/other", messages=QUESTION)
    with pytest.raises(openai.UnprocessableEntityError, match="default/meta-llama"):
        bob.chat.completions.create(model="meta/llama", messages=QUESTION)


def test_no_field_leads_to_a_foreign_workspace(bob: openai.OpenAI) -> None:
    elsewhere = ["default/demo", {"model": "default/demo"}, "provider:http/demo"]
    for name in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
        for target in elsewhere:
            more: Any = {"extra_body": {name: [target]}}
            with pytest.raises(openai.InternalServerError):
                bob.chat.completions.create(model="team-a/down", messages=QUESTION, **more)
    with pytest.raises(openai.PermissionDeniedError, match="workspace default"):
        bob.audio.transcriptions.create(model="default/whisper", file=("sound.wav", sound()))
    with pytest.raises(openai.BadRequestError, match="fallbacks"):
        bob.audio.transcriptions.create(
            model="team-a/down", file=("sound.wav", sound()), extra_body={"fallbacks": "x"}
        )


@pytest.mark.parametrize(
    "more",
    [
        {"timeout": 0.0001},
        {"headers": {"Authorization": "Bearer x"}},
        {"extra_headers": {"Authorization": "Bearer x"}},
        {"custom_llm_provider": "bedrock"},
        {"extra_body": {"model": "other"}},
        {"api_base": "http://127.0.0.1:1/v1"},
        {"mock_response": "mocked"},
    ],
)
def test_options_of_litellms_do_nothing(more: dict[str, Any], bob: openai.OpenAI) -> None:
    ask = partial(bob.chat.completions.create, model="team-a/http", messages=QUESTION, **GREEDY)
    assert "RunPod" in (ask(extra_body=more).choices[0].message.content or "")
    assert "RunPod" in (ask().choices[0].message.content or "")


def test_no_tool_of_anthropics_leads_to_another_model(gateway: Gateway) -> None:
    client = anthropic.Anthropic(base_url=gateway.url, api_key="bob's", max_retries=0)
    advisor: Any = {"type": "advisor_20260301", "name": "advisor", "model": "default/demo"}
    with pytest.raises(anthropic.BadRequestError, match="tools"):
        client.messages.create(
            model="team-a/http", messages=QUESTION, max_tokens=5, tools=[advisor]
        )


@pytest.mark.parametrize("stream", [1, "true"])
def test_an_odd_stream_is_refused_and_takes_no_provider_away(
    stream: Any, bob: openai.OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError, match="stream"):
        bob.chat.completions.create(
            model="team-a/http", messages=QUESTION, extra_body={"stream": stream}
        )
    bob.chat.completions.create(model="team-a/http", messages=QUESTION, max_tokens=1)


def test_a_workers_own_fields_arrive(alice: openai.OpenAI) -> None:
    more: Any = {"extra_body": {"structured_outputs": {"choice": ["llama"]}}}
    chat = alice.chat.completions.create(model="team-a/http", messages=QUESTION, **more)
    assert chat.choices[0].message.content == "llama"


def test_a_request_without_a_key_is_refused(gateway: Gateway) -> None:
    body = {"model": "default/demo", "messages": QUESTION}
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, trust_env=False)
    assert answer.status_code == 401
    assert "missing or wrong" in answer.json()["error"]["message"]


def test_a_key_has_so_many_requests_a_minute(gateway: Gateway) -> None:
    with gateway.client("slow's") as slow:
        for _ in range(3):
            slow.chat.completions.create(model="default/demo", messages=QUESTION, max_tokens=1)
        with pytest.raises(openai.RateLimitError) as refused:
            slow.chat.completions.create(model="default/demo", messages=QUESTION, max_tokens=1)
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_of_a_provider_that_is_down_the_next_is_asked(alice: openai.OpenAI) -> None:
    answered = alice.chat.completions.with_raw_response.create(
        model="default/first", messages=QUESTION, **GREEDY
    )
    assert answered.headers["x-provider"] == "http"
    with pytest.raises(openai.APIStatusError) as failed:
        alice.chat.completions.create(model="team-a/down", messages=QUESTION, **GREEDY)
    assert failed.value.status_code >= 500
    assert "Traceback" not in failed.value.message


def test_health_is_by_provider_and_needs_no_model(
    gateway: Gateway, workers: dict[str, tuple[WorkerProcess, str]]
) -> None:
    before = [jobs(worker) for worker, _ in workers.values()]
    providers = httpx.get(f"{gateway.url}/health", trust_env=False).json()["providers"]
    assert {name: found["ok"] for name, found in providers.items()} == {
        "queue": True, "http": True, "vectors": True, "ears": True, "down": False,
    }  # fmt: skip
    assert providers["queue"]["workers"]
    assert [jobs(worker) for worker, _ in workers.values()] == before


def test_metrics_are_for_keys_and_tell_no_secret(gateway: Gateway, alice: openai.OpenAI) -> None:
    alice.chat.completions.create(model="team-a/queue", messages=QUESTION, max_tokens=1)
    url = f"{gateway.url}/metrics"
    assert httpx.get(url, trust_env=False).status_code == 401
    headers = {"Authorization": "Bearer alice's"}
    text = httpx.get(url, headers=headers, trust_env=False).text
    assert re.search(r'litellm_input_tokens_metric_total{.*requested_model="team-a/queue"', text)
    assert not [key for key in KEYS.values() if key in text]
    queue = f"{gateway.url}/upstream/queue/v1/models"
    assert queue.removesuffix("/models") in text
    assert httpx.get(queue, headers=headers, trust_env=False).status_code == 401


def test_a_request_has_one_line_without_text(gateway: Gateway, alice: openai.OpenAI) -> None:
    length = len(gateway.log)
    secret: Any = [{"role": "user", "content": "a secret question"}]
    alice.chat.completions.create(model="team-a/queue", messages=secret, **GREEDY)
    eventually(lambda: "alice: team-a/queue from queue, answered" in gateway.log[length:])
    (line,) = gateway.log[length:].splitlines()
    assert re.search(r"\d+ \+ \d+ tokens, [\d.]+ s, \$0\.\d+$", line)
    assert "secret" not in gateway.log
    assert "Traceback" not in gateway.log
