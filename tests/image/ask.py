"""Runs a container's command, asks it as clients do, and stops it: `… ask FOLDER COMMAND…`.

Run where the only network is the container's own loopback.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError

LOCAL = "http://127.0.0.1:8000"
BALANCED = "http://127.0.0.1:80"
KEY = "a-secret-key"
ENDPOINT = {"RUNPOD_ENDPOINT_ID": "e", "PORT": "80", "API_KEY": KEY, "MODEL_NAME": "demo"}
"""What a load-balancing endpoint sets: no variables of a queue. An image's own model wins."""

SAMPLING = {"max_tokens": 40, "temperature": 0}
QUESTION = [{"role": "user", "content": "What is RunPod?"}]


def main(folder: str, command: list[str]) -> None:
    # The image listens on all addresses.
    with started(folder, command, {"ALLOW_NO_KEY": "1"}) as worker:
        ask_local_endpoint(worker)
    with started(folder, command, ENDPOINT) as worker:
        ask_http_server(worker)


def in_container(folder: str, command: list[str], variables: dict[str, str]) -> list[str]:
    """The command, in the image's working directory and with these variables."""
    place = command.index("-i") + 1  # of `env`, which comes after `chroot`
    given = [f"{name}={value}" for name, value in variables.items()]
    return [*command[:place], f"--chdir={folder}", *given, *command[place:]]


@contextmanager
def started(
    folder: str, command: list[str], variables: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The container's command, which must end with code 0 on SIGTERM."""
    worker = subprocess.Popen(in_container(folder, command, variables))
    try:
        yield worker
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
        say(f"exit code {code} after SIGTERM")
        assert code == 0
    finally:
        worker.kill()


def ask_local_endpoint(worker: subprocess.Popen[bytes]) -> None:
    begun = time.monotonic()
    statuses(worker, f"{LOCAL}/health")
    # The job waits for a start from files that are in no cache, on a machine that may be busy.
    job = {"input": {"messages": QUESTION, "sampling_params": SAMPLING}}
    native = post(f"{LOCAL}/runsync?wait=300000", job)
    text = native["output"][0]["choices"][0]["tokens"][0]
    say(f"native, {time.monotonic() - begun:.0f} s after the start: {text!r}")
    answer = chat(f"{LOCAL}/v2/local/openai")
    assert "RunPod" in text
    assert answer == text


def ask_http_server(worker: subprocess.Popen[bytes]) -> None:
    seen = statuses(worker, f"{BALANCED}/ping")
    say(f"http mode: /ping answers {', then '.join(map(str, seen))}")
    assert seen == [204, 200]
    bearer = {"Authorization": f"Bearer {KEY}"}
    assert "RunPod" in chat(BALANCED, bearer)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        status = status_of(f"{BALANCED}/v1/models", headers)
        say(f"http mode: {'a wrong key' if headers else 'no key'}: {status}")
        assert status == 401


def statuses(worker: subprocess.Popen[bytes], url: str) -> list[int]:
    """The different statuses of `url` until one is 200. Until the first, nobody may listen."""
    seen: list[int] = []
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert worker.poll() is None, "the container's command ended"
        try:
            status = status_of(url)
        except OSError:
            assert not seen, "nobody listens any more"
            time.sleep(0.5)
            continue
        if not seen or seen[-1] != status:
            seen.append(status)
        if status == 200:
            return seen
        time.sleep(0.1)
    raise AssertionError("the container does not answer")


def chat(url: str, headers: dict[str, str] | None = None) -> str:
    """The answer to the question under an OpenAI client's base URL, without its /v1."""
    with opened(f"{url}/v1/models", headers) as answer:
        model = json.load(answer)["data"][0]["id"]
    body = {"model": model, "messages": QUESTION, **SAMPLING}
    text = post(f"{url}/v1/chat/completions", body, headers)["choices"][0]["message"]["content"]
    say(f"openai, model {model}: {text!r}")
    return str(text)


def post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    with opened(url, headers, json.dumps(body).encode()) as answer:
        return json.load(answer)


def status_of(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with opened(url, headers) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def opened(
    url: str, headers: dict[str, str] | None = None, data: bytes | None = None
) -> HTTPResponse:
    content = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(url, data, content | (headers or {}))
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=300)
    return answer


def say(text: str) -> None:
    print(f"test-image: {text}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
