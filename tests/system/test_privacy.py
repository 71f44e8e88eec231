"""What clients and the model say, and what the environment holds, stays out of logs and files.

Each of them is marked, and then all that the worker has written is searched for the marks.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running import running_endpoint
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess, running_worker
from vllm_worker.local_endpoint.process import EndpointProcess

MARK = "mark7f3a"
"""Part of everything that a client sends, and of what the model is made to say."""
SECRET = "secret9c1e"
"""Part of every value in the environment that is nobody's business."""
SECRETS = {
    "HF_TOKEN": f"hf_{SECRET}",
    "VLLM_API_KEY": f"vllm_{SECRET}",
    "RUNPOD_API_KEY": f"rp_{SECRET}",
    "RUNPOD_AI_API_KEY": f"rpa_{SECRET}",
    "AWS_SECRET_ACCESS_KEY": f"aws_{SECRET}",
    "SOME_PASSWORD": f"password_{SECRET}",
}
SAYS = [{"role": "user", "content": f"Say {MARK}."}]
SPOKEN = {"choice": [MARK]}
"""Makes the model say it."""
BROKEN_CALL = {"regex": f"<tool_call>.{MARK}.</tool_call>"}
TOOL = {
    "type": "function",
    "function": {"name": MARK, "description": MARK, "parameters": {"type": "object"}},
}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{MARK}"}}


def route(name: str, **body: Any) -> dict[str, Any]:
    return {"openai_route": f"/v1/{name}", "openai_input": {"model": "demo"} | body}


ANSWERED = [
    {"prompt": MARK, "sampling_params": {"structured_outputs": SPOKEN}},
    {"messages": SAYS, "stream": True, "sampling_params": {"structured_outputs": SPOKEN}},
    {"prompt": MARK, MARK: MARK, "sampling_params": {"max_tokens": 2}},
    {"prompt": MARK, "sampling_params": {"stop": MARK, "bad_words": [MARK]}},
    route("chat/completions", messages=SAYS, structured_outputs=SPOKEN),
    route("chat/completions", messages=SAYS, structured_outputs=SPOKEN, stream=True),
    route("chat/completions", messages=SAYS, tools=[TOOL], structured_outputs=BROKEN_CALL),
    route("chat/completions", messages=SAYS, tools=[TOOL], structured_outputs=BROKEN_CALL,
          stream=True),
    route("chat/completions", messages=SAYS, tools=[TOOL], tool_choice="required", max_tokens=5),
    route("chat/completions", messages=SAYS, user=MARK, metadata={MARK: MARK}, **{MARK: MARK}),
    route("completions", prompt=MARK, echo=True, logprobs=1, max_tokens=2),
    route("responses", input=MARK, instructions=MARK),
    route("messages", messages=SAYS, max_tokens=5, system=MARK),
    route("chat/completions", messages=SAYS) | {"openai_headers": {"X-Request-Id": MARK}},
]  # fmt: skip
REFUSED = [
    {"prompt": MARK, "model": MARK},
    route("chat/completions", model=MARK, messages=[{"role": "user", "content": "x"}]),
    route("completions", model=MARK, prompt="x"),
    {"prompt": MARK, "sampling_params": {MARK: MARK}},
    {"prompt": MARK, "sampling_params": {"temperature": MARK}},
    {"prompt": MARK * 100_000},
    {"openai_route": f"/v1/{MARK}", "openai_input": {"prompt": MARK}},
    route("chat/completions", messages=[{"role": MARK, "content": {MARK: MARK}}]),
    route("chat/completions", messages=SAYS, temperature=MARK),
    route("chat/completions", messages=SAYS, chat_template=f"{{{{ {MARK} }}}}"),
    route("chat/completions", messages=[{"role": "user", "content": [PICTURE]}]),
    route("completions", prompt=MARK, structured_outputs={"regex": f"({MARK}"}),
    route("completions", prompt=MARK, structured_outputs={"grammar": f"root ::= {MARK}"}),
    route("completions", prompt=MARK, structured_outputs={"json": {"type": MARK}}),
    route("audio/transcriptions", file={"data": MARK, "filename": MARK}),
]
ENDLESS = {"prompt": MARK, "sampling_params": {"max_tokens": 1900, "ignore_eos": True}}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the worker keeps its files; short, since sockets are among them."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def answers(folder: Path) -> Iterator[tuple[list[dict[str, Any]], WorkerProcess]]:
    """What clients got for all of these jobs, and the worker, which has died in the end."""
    places = {"TMPDIR": str(folder), "BASE_PATH": str(folder / "base"), "HOME": str(folder)}
    with (
        running_endpoint() as endpoint,  # outlives the worker, to be asked what became of its job
        running_worker(endpoint.environment | SECRETS | places) as worker,
    ):
        yield list(ask_all(worker, endpoint)), worker


def ask_all(worker: WorkerProcess, endpoint: EndpointProcess) -> Iterator[dict[str, Any]]:
    base_url = f"{endpoint.url}/v2/local"
    with httpx.Client(base_url=base_url, trust_env=False, timeout=60) as client:
        for job in [*ANSWERED, *REFUSED]:
            yield client.post("/runsync", json={"input": job}).json()
        job_id = client.post("/run", json={"input": ENDLESS}).json()["id"]
        eventually(lambda: client.get(f"/status/{job_id}").json()["status"] == "IN_PROGRESS")
        worker.child("VLLM::Worker").send_signal(signal.SIGKILL)
        worker.exit_code()
        yield client.get(f"/status/{job_id}").json()


def test_the_jobs_are_what_they_should_be(
    answers: tuple[list[dict[str, Any]], WorkerProcess],
) -> None:
    statuses = [answer["status"] for answer in answers[0]]
    assert statuses == ["COMPLETED"] * len(ANSWERED) + ["FAILED"] * (len(REFUSED) + 1)
    assert MARK in json.dumps(answers[0][0]["output"])


def test_no_log_has_what_clients_or_the_model_said(
    answers: tuple[list[dict[str, Any]], WorkerProcess],
) -> None:
    log = answers[1].log
    assert "the engine has died" in log
    assert [line for line in log.splitlines() if MARK in line] == []
    assert "Traceback" not in log, log[log.index("Traceback") - 3000 :][:6000]


def test_no_log_answer_or_file_has_a_secret(
    answers: tuple[list[dict[str, Any]], WorkerProcess], folder: Path
) -> None:
    encoded = base64.b64encode(SECRET.encode()).decode()
    for text in (answers[1].log, json.dumps(answers[0])):
        assert SECRET not in text
        assert encoded not in text
    written = [path for path in folder.rglob("*") if path.is_file()]
    marks = (SECRET.encode(), MARK.encode())
    assert [path for path in written if any(mark in path.read_bytes() for mark in marks)] == []


@pytest.mark.parametrize("options", [[], ["--json"], ["--check"], ["--list"]])
def test_no_secret_is_shown_by_the_configuration(options: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "vllm_worker", "config", *options],
        env=os.environ | SECRETS | {"MODEL_NAME": "demo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in shown.stdout + shown.stderr
