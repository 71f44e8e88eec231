"""What a request must not reach: files of the container, other hosts, parts of the worker."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, Refused, run
from vllm_worker.engine.vllm_engine import VLLMEngine

SECRET = "kept-in-a-file-of-the-container"
HI = [{"role": "user", "content": "Hi"}]
TRANSFER = {"do_remote_prefill": True, "remote_host": "10.0.0.1", "remote_port": 5000}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret.json"
    path.write_text(json.dumps({"type": "object", "description": SECRET, "v": "{{ messages }}"}))
    return path


def part(kind: str, url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": kind, kind: {"url": url}}]}]


def job(route: str, **body: Any) -> dict[str, Any]:
    return {"openai_route": route, "openai_input": {"model": "demo", "max_tokens": 3} | body}


REFUSED = {
    "template": job(CHAT, messages=HI, chat_template="{{ messages }}"),
    "template file": job(CHAT, messages=HI, chat_template="FILE"),
    "template in kwargs": job(CHAT, messages=HI, chat_template_kwargs={"chat_template": "FILE"}),
    "template of tokenize": job("/tokenize", messages=HI, chat_template="{{ messages }}"),
    "processor arguments": job(CHAT, messages=HI, mm_processor_kwargs={"num_crops": 100}),
    "media arguments": job(CHAT, messages=HI, media_io_kwargs={"video": {"num_frames": 9999}}),
    "image file": job(CHAT, messages=part("image_url", "file://FILE")),
    "image of the network": job(CHAT, messages=part("image_url", "http://169.254.169.254/x")),
    "video file": job(CHAT, messages=part("video_url", "file://FILE")),
    "audio file": job(CHAT, messages=part("audio_url", "file://FILE")),
    "transfer": job(CHAT, messages=HI, kv_transfer_params=TRANSFER),
    "transfer of completions": job(COMPLETIONS, prompt="x", kv_transfer_params=TRANSFER),
    "encoder transfer": job(CHAT, messages=HI, ec_transfer_params=TRANSFER),
    "plugin arguments": job(CHAT, messages=HI, vllm_xargs={"kv_transfer_params": "x"}),
    "transfer of responses": job("/v1/responses", input="Hi", kv_transfer_params=TRANSFER),
    "embeddings as prompt": job(COMPLETIONS, prompt_embeds="AAAA"),
    "model by path": job(CHAT, messages=HI) | {"openai_input": {"model": "FILE", "messages": HI}},
    "model by parents": {"prompt": "x", "model": "../../../etc/passwd"},
    "native arguments": {"prompt": "x", "sampling_params": {"extra_args": {"a": 1}}},
    "native logits processor": {"prompt": "x", "sampling_params": {"logits_processors": ["os"]}},
    "schema by reference": job(
        CHAT,
        messages=HI,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"$ref": "file://FILE"}},
        },
    ),
    "upload by path": job("/v1/audio/transcriptions", file="FILE"),
    "upload by address": job("/v1/audio/transcriptions", file="file://FILE"),
    "route to a file": {"openai_route": "/v1/../../../FILE"},
    "adapter": {"route": "/v1/load_lora_adapter", "body": {"lora_name": "x", "lora_path": "FILE"}},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_nothing_is_read(engine: VLLMEngine, file: Path, name: str) -> None:
    with pytest.raises(Refused) as refused:
        await run(engine, json.loads(json.dumps(REFUSED[name]).replace("FILE", str(file))))
    assert 400 <= refused.value.error["code"] < 500
    assert SECRET not in refused.value.error["message"]


async def test_a_field_that_the_configuration_trusts_is_taken(engine: VLLMEngine) -> None:
    from vllm_worker.configuration.settings import load_settings
    from vllm_worker.worker import Worker

    worker = Worker(load_settings({"TRUST_REQUEST_FIELDS": "vllm_xargs"}), engine)
    given = job(CHAT, messages=HI, vllm_xargs={"mine": 1})
    (output,) = [output async for output in worker.handle({"id": "job", "input": given})]
    assert output["usage"]["completion_tokens"] == 3
