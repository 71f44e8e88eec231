"""Runs a container's command, asks it as clients do, and stops it: `… ask FOLDER COMMAND…`.

Run where the only network is the container's own loopback.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

URL = "http://127.0.0.1:8000"
QUESTION = [{"role": "user", "content": "What is RunPod?"}]


def main(folder: str, command: list[str]) -> None:
    # `chroot` and `env` come first in the command; env changes to the image's working directory.
    place = command.index("-i")
    command[place:place] = [f"--chdir={folder}"]
    worker = subprocess.Popen(command)
    try:
        started = time.monotonic()
        wait_for_health(worker)
        sampling = {"max_tokens": 40, "temperature": 0}
        # The job waits for a start from files that are in no cache, on a machine that may be busy.
        job = {"input": {"messages": QUESTION, "sampling_params": sampling}}
        native = post("/runsync?wait=300000", job)
        took = time.monotonic() - started
        text = native["output"][0]["choices"][0]["tokens"][0]
        print(f"test-image: native, {took:.0f} s after the start: {text!r}", flush=True)
        models = get("/v2/local/openai/v1/models")
        body = {"model": models["data"][0]["id"], "messages": QUESTION, **sampling}
        chat = post("/v2/local/openai/v1/chat/completions", body)
        answer = chat["choices"][0]["message"]["content"]
        print(f"test-image: openai, model {body['model']}: {answer!r}", flush=True)
        assert "RunPod" in text
        assert answer == text
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
        print(f"test-image: exit code {code} after SIGTERM", flush=True)
        assert code == 0
    finally:
        worker.kill()


def wait_for_health(worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert worker.poll() is None, "the container's command ended"
        try:
            get("/health")
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the container does not answer")


def get(path: str) -> Any:
    with urllib.request.urlopen(f"{URL}{path}") as answer:
        return json.load(answer)


def post(path: str, body: dict[str, Any]) -> Any:
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
