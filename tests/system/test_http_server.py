"""The HTTP door on the real engine, asked by unmodified clients."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.audio import sound
from tests.support.command_line import command_line
from tests.support.http_worker import (
    HEADERS,
    KEY,
    http_worker,
    running_http_worker,
    wait_until_idle,
)
from tests.support.served_model import SMALL
from tests.support.small_models import make_embedding_model, make_transcription_model
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

QUESTION: list[Any] = [{"role": "user", "content": "What is RunPod?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 40}


def cancelled_jobs(worker: WorkerProcess) -> int:
    """How many native jobs are cancelled by the job log."""
    return len(re.findall(r": native, model demo, key key.*, cancelled$", worker.log, re.M))


LONG: dict[str, Any] = {
    "prompt": "x",
    "stream": True,
    "sampling_params": {"max_tokens": 900, "ignore_eos": True},
}


@contextmanager
def long_stream(url: str) -> Iterator[Iterator[str]]:
    """The parts of a native job's answer, as they come."""
    with (
        httpx.Client(trust_env=False, headers=HEADERS, timeout=60) as client,
        client.stream("POST", f"{url}/generate", json=LONG) as answer,
    ):
        yield answer.iter_text()


@pytest.fixture
def door_client(door_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{door_url}/v1", api_key=KEY, max_retries=0)


def test_chats_and_streams(door_client: openai.OpenAI) -> None:
    assert [model.id for model in door_client.models.list()] == ["demo"]
    assert door_client.models.retrieve("demo").id == "demo"
    answer = door_client.chat.completions.create(model="demo", messages=QUESTION, **GREEDY)
    assert "RunPod" in str(answer.choices[0].message.content)
    stream = door_client.chat.completions.create(
        model="demo", messages=QUESTION, stream=True, **GREEDY
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == answer.choices[0].message.content
    assert len(chunks) > 10  # as they come, in no chunks of a schedule
    assert door_client.responses.create(model="demo", input="Hi", max_output_tokens=8).output_text


def test_best_of_and_errors_are_those_of_the_queue(door_client: openai.OpenAI) -> None:
    best = door_client.completions.create(
        model="demo", prompt="Hi", n=1, best_of=3, max_tokens=4, temperature=1
    )
    assert len(best.choices) == 1
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        door_client.completions.create(model="demo", prompt="Hi", max_tokens=-1)
    with pytest.raises(openai.NotFoundError):
        door_client.chat.completions.create(model="other", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=door_client.base_url, api_key="wrong", max_retries=0).models.list()


def test_anthropics_client(door_url: str) -> None:
    client = anthropic.Anthropic(base_url=door_url, api_key=KEY, max_retries=0)
    message = client.messages.create(model="demo", max_tokens=20, messages=QUESTION)
    assert message.content[0].type == "text"
    with client.messages.stream(model="demo", max_tokens=20, messages=QUESTION) as stream:
        assert "".join(stream.text_stream)
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=door_url, api_key="x", max_retries=0).messages.create(
            model="demo", max_tokens=2, messages=QUESTION
        )


def test_curl(door_url: str) -> None:
    body = json.dumps({"prompt": "RunPod is", "stream": True, "sampling_params": GREEDY})
    command = [
        "curl",
        "-sN",
        f"{door_url}/generate",
        "-H",
        f"Authorization: Bearer {KEY}",
        "-d",
        body,
    ]
    events = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *chunks, done, _ = events.split("\n\n")
    assert done == "data: [DONE]"
    last = json.loads(chunks[-1].removeprefix("data: "))
    assert last["choices"][0]["finish_reason"]
    assert last["usage"]["output"] >= len(chunks) - 1


def test_a_client_that_leaves_frees_its_place(
    door_worker: tuple[WorkerProcess, str],
) -> None:
    worker, url = door_worker
    wait_until_idle(url)
    before = cancelled_jobs(worker)

    def leave(_: int) -> None:
        with httpx.stream("POST", f"{url}/generate", json=LONG, headers=HEADERS) as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, range(4)))
    wait_until_idle(url)
    eventually(lambda: cancelled_jobs(worker) == before + 4)


def test_more_than_it_holds_is_told_to_go_elsewhere(door_url: str) -> None:
    body = {"prompt": "x", "sampling_params": {"max_tokens": 900, "ignore_eos": True}}

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{door_url}/generate", json=body, headers=HEADERS, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    assert codes.count(200) >= 4


def test_the_log_has_the_name_of_a_key_and_not_the_key(
    door_worker: tuple[WorkerProcess, str],
) -> None:
    worker, url = door_worker
    assert httpx.get(f"{url}/v1/models", headers=HEADERS, trust_env=False).status_code == 200
    worker.wait_for("/v1/models, model demo, key key, ")
    assert KEY not in worker.log


def test_audio_is_uploaded_as_openais_client_does(tmp_path: Path) -> None:
    make_transcription_model(tmp_path)
    file = tmp_path / "a.wav"
    file.write_bytes(sound())
    with running_http_worker(MODEL_NAME=str(tmp_path), **SMALL) as (_, url):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        (model,) = client.models.list()
        answer = client.audio.transcriptions.create(model=model.id, file=file, language="en")
        assert answer.text
        where = ["--url", url, "--api-key", KEY, "--language", "en"]
        ran = command_line("transcribe", str(file), *where)
        assert ran.stdout.strip() == answer.text.strip(), ran.stderr
        with pytest.raises(openai.BadRequestError):
            client.audio.transcriptions.create(model=model.id, file=("a.wav", b"no sound"))


def test_texts_are_embedded_by_client_and_command_line(tmp_path: Path) -> None:
    make_embedding_model(tmp_path)
    with running_http_worker(MODEL_NAME=str(tmp_path), **SMALL) as (_, url):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        (model,) = client.models.list()
        answer = client.embeddings.create(model=model.id, input="a text", encoding_format="float")
        ran = command_line("embed", "a text", "--url", url, "--api-key", KEY)
        assert json.loads(ran.stdout) == answer.data[0].embedding, ran.stderr


def test_what_runs_is_finished_after_sigterm() -> None:
    with running_http_worker() as (worker, url):
        with long_stream(url) as parts:
            text = next(parts)
            worker.process.send_signal(signal.SIGTERM)
            text += "".join(parts)
        assert text.endswith("data: [DONE]\n\n")
        last = json.loads(text.split("\n\n")[-3].removeprefix("data: "))
        assert last["usage"]["output"] == 900
        assert worker.exit_code() == 0
        assert "Traceback" not in worker.log
        assert ", completed" in worker.log


def test_an_engine_that_dies_ends_the_worker_and_says_so() -> None:
    with running_http_worker() as (worker, url):
        with long_stream(url) as parts:
            text = next(parts)
            worker.child("EngineCore").kill()
            text += "".join(parts)
        assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == 503
        assert worker.exit_code() == 1


def test_a_signal_while_it_starts_ends_it() -> None:
    worker, url = http_worker()
    try:
        worker.wait_for("listening on")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        assert "Traceback" not in worker.log
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/ping", trust_env=False)
    finally:
        worker.stop()


def test_without_a_key_it_listens_to_nobody_else(tmp_path: Path) -> None:
    worker = WorkerProcess({"RUNPOD_POD_ID": "p", "PORT": "0", "BASE_PATH": str(tmp_path)})
    assert worker.exit_code() == 2
    assert "HOST=0.0.0.0 can be reached by others: set API_KEY" in worker.log
