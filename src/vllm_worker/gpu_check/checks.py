"""What is asked of a running worker. Each check returns a sentence, or raises CheckFailed."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil

from vllm_worker.gpu_check.machine import gpus
from vllm_worker.gpu_check.process import CheckFailed, Served

Check = Callable[[Served, httpx.Client], str]

_CHAT = "/v1/chat/completions"
_MESSAGES = [{"role": "user", "content": "What is RunPod?"}]
_ANSWERS = ["yes", "no"]
_ARGUMENTS = {
    "type": "object",
    "properties": {"answer": {"enum": _ANSWERS}},
    "required": ["answer"],
    "additionalProperties": False,
}
_FUNCTION = {"name": "reply", "parameters": _ARGUMENTS, "strict": True}
_TOOL = {"type": "function", "function": _FUNCTION}
_LONG = {"prompt": "x", "sampling_params": {"max_tokens": 100_000, "ignore_eos": True}}
_SOAK = 500
STREAMS = 64
TOKENS = 128
_ROUNDS = 3
_DEADLINE_S = 60
_END_S = 10


def native(_: Served, asking: httpx.Client) -> str:
    job = {"prompt": "RunPod is", "sampling_params": {"max_tokens": 16}}
    (output,) = _output(asking, job)
    return f"{_expect(output['usage']['output'], 'tokens')} tokens"


def native_stream(_: Served, asking: httpx.Client) -> str:
    sampling = {"max_tokens": 64, "ignore_eos": True}
    job_id = _submit(asking, {"prompt": "RunPod is", "stream": True, "sampling_params": sampling})
    chunks = list(_chunks(asking, job_id))
    tokens = sum(len(choice["tokens"]) for chunk in chunks for choice in chunk["choices"])
    return f"{_expect(tokens, 'tokens')} parts of an answer in {len(chunks)} chunks"


def chat(_: Served, asking: httpx.Client) -> str:
    answer = _post(asking, {"messages": _MESSAGES, "max_tokens": 32})
    return f"{_expect(answer['usage']['completion_tokens'], 'tokens')} tokens"


def chat_stream(_: Served, asking: httpx.Client) -> str:
    body = {"messages": _MESSAGES, "max_tokens": 64, "ignore_eos": True, "stream": True}
    started, first = time.monotonic(), 0.0
    events = 0
    line = ""
    with asking.stream("POST", _CHAT, json=body) as answer:
        for line in filter(None, answer.iter_lines()):
            if line.startswith('data: {"error"'):
                raise CheckFailed(line[:300])
            if line.startswith("data: {"):
                first = first or time.monotonic() - started
                events += 1
    if answer.status_code != 200 or line != "data: [DONE]":
        raise CheckFailed(f"HTTP {answer.status_code}, and the stream ends with {line[:300]!r}")
    return f"{_expect(events, 'events')} events, the first after {1000 * first:.0f} ms"


def schema(_: Served, asking: httpx.Client) -> str:
    # One that every model ends, also the embedded one, which may go on with white space in others.
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": _ANSWERS}}}
    answer = _post(asking, {"messages": _MESSAGES, "max_tokens": 64, "response_format": wanted})
    text = answer["choices"][0]["message"]["content"]
    if json.loads(text) not in _ANSWERS:
        raise CheckFailed(f"{text} does not follow the schema")
    return str(text)


def tools(_: Served, asking: httpx.Client) -> str:
    choice = {"type": "function", "function": {"name": "reply"}}
    body = {"messages": _MESSAGES, "max_tokens": 64, "tools": [_TOOL], "tool_choice": choice}
    (call,) = _post(asking, body)["choices"][0]["message"]["tool_calls"]
    arguments = call["function"]["arguments"]
    if json.loads(arguments)["answer"] not in _ANSWERS:
        raise CheckFailed(f"{arguments} does not follow the tool's schema")
    return f"{call['function']['name']}({arguments})"


def cancel(served: Served, asking: httpx.Client) -> str:
    job_id = _submit(asking, _fitting(asking, _LONG))
    _until(lambda: _status(asking, job_id)["status"] == "IN_PROGRESS")
    asking.post(f"/cancel/{job_id}")
    _until(lambda: bool(_lines(served, job_id)))
    if (status := _status(asking, job_id)["status"]) != "CANCELLED":
        raise CheckFailed(f"the job ended as {status}")
    (line,) = _lines(served, job_id)
    if not line.endswith("cancelled"):
        raise CheckFailed(line)
    return line.partition(f"{job_id}: ")[2]


def soak(_: Served, asking: httpx.Client) -> str:
    def one(number: int) -> str:
        sampling = {"max_tokens": 1 + number % 50}
        job: dict[str, Any] = {"prompt": "x" * (1 + number), "sampling_params": sampling}
        if number % 10 == 0:
            job = {"prompt": "x", "sampling_params": {"temperature": -1}}  # to be refused
        return str(asking.post("/runsync", json={"input": job}).json()["status"])

    with ThreadPoolExecutor(STREAMS) as pool:
        statuses = list(pool.map(one, range(_SOAK)))
    expected = ["FAILED" if number % 10 == 0 else "COMPLETED" for number in range(_SOAK)]
    wrong = sum(is_ != should for is_, should in zip(statuses, expected, strict=True))
    if wrong:
        raise CheckFailed(f"{wrong} of {_SOAK} jobs did not end as they should")
    return f"{_SOAK} jobs, each ended as it should"


def memory(_: Served, asking: httpx.Client) -> str:
    free = [f"{gpu.free_mib:,} of {gpu.total_mib:,} MiB" for gpu in gpus()]
    return f"left: {', '.join(free)}" if free else "no GPU, so none was asked"


def tokens_per_s(asking: httpx.Client) -> float:
    """The best of some rounds of chats at once; HTTP alone, so that vLLM's server can be asked."""
    body = {"messages": _MESSAGES, "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}

    def one(_: int) -> int:
        return int(_post(asking, body)["usage"]["completion_tokens"])

    best = 0.0
    with ThreadPoolExecutor(STREAMS) as pool:
        for _ in range(_ROUNDS):
            started = time.monotonic()
            tokens = sum(pool.map(one, range(STREAMS)))
            best = max(best, tokens / (time.monotonic() - started))
    return best


def sigterm(served: Served, asking: httpx.Client) -> str:
    """To be the last, as the worker is gone then."""
    sampling = {"max_tokens": 256, "ignore_eos": True}
    job_id = _submit(asking, {"prompt": "x", "sampling_params": sampling})
    _until(lambda: _status(asking, job_id)["status"] == "IN_PROGRESS")
    family = served.family()
    started = time.monotonic()
    code = served.end(signal.SIGTERM)
    took = time.monotonic() - started
    left = [process.name() for process in psutil.wait_procs(family, _END_S)[1]]
    if code or left:
        raise CheckFailed(f"exit code {code}, processes left: {left}")
    if not [line for line in _lines(served, job_id) if line.endswith("completed")]:
        raise CheckFailed(f"the job in flight did not finish: {_lines(served, job_id)}")
    return f"exit code 0 after {took:.1f} s, and the job in flight was finished"


def killed_core(served: Served, asking: httpx.Client) -> str:
    """Likewise."""
    _submit(asking, _fitting(asking, _LONG))
    _until(lambda: asking.get("/health").json()["jobs"]["inProgress"] == 1)
    (core,) = [process for process in served.family() if "EngineCore" in process.name()]
    core.send_signal(signal.SIGKILL)
    started = time.monotonic()
    if (code := served.exit_code()) != 1:
        raise CheckFailed(f"exit code {code}, not 1")
    return f"exit code 1 after {time.monotonic() - started:.1f} s"


def _post(asking: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = asking.post(_CHAT, json=body)
    if answer.status_code != 200:
        raise CheckFailed(f"HTTP {answer.status_code}: {answer.text[:300]}")
    return dict(answer.json())


def _lines(served: Served, job_id: str) -> list[str]:
    """What the job log says of a job."""
    return [line for line in served.log.splitlines() if f"job {job_id}: " in line]


def _submit(asking: httpx.Client, job: dict[str, Any]) -> str:
    return str(asking.post("/run", json={"input": job}).json()["id"])


def _output(asking: httpx.Client, job: dict[str, Any]) -> Any:
    answer = asking.post("/runsync", json={"input": job}).json()
    if answer["status"] != "COMPLETED":
        raise CheckFailed(f"the job ended as {answer['status']}: {answer.get('error')}")
    return answer["output"]


def _chunks(asking: httpx.Client, job_id: str) -> Iterator[Any]:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        answer = asking.get(f"/stream/{job_id}").json()
        yield from (part["output"] for part in answer["stream"])
        if answer["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            return
    raise CheckFailed("the stream has not ended")


def _fitting(asking: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job with as many tokens as the context has, less some for the prompt."""
    length = int(asking.get("/v1/models").json()["data"][0]["max_model_len"])
    return job | {"sampling_params": job["sampling_params"] | {"max_tokens": length - 16}}


def _status(asking: httpx.Client, job_id: str) -> Any:
    return asking.get(f"/status/{job_id}").json()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise CheckFailed(f"it did not happen within {_DEADLINE_S} s")
        time.sleep(0.02)


def _expect(count: int, what: str) -> int:
    if not count:
        raise CheckFailed(f"no {what}")
    return count
