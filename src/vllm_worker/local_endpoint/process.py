"""The endpoint as a child process, and what a worker's environment must be to work for it."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_worker.web.keys import Keys
from vllm_worker.web.listener import CannotListenError, listen

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
DEFAULT_ID = "local"
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class EndpointStartError(RuntimeError):
    """The endpoint could not be started; the message is meant for the user."""


@dataclass(frozen=True)
class EndpointProcess:
    """A running endpoint. `url` is where this machine reaches it, without a path."""

    host: str
    port: int
    url: str
    environment: dict[str, str]
    """The RUNPOD_* variables of one worker, see `worker_environment`."""
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """Let it answer held polls at once and refuse new jobs; jobs in progress go on.

        Ctrl-C does the same by itself. Does not wait.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """End it, in a few seconds at most. May be called twice."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def listen_on(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises EndpointStartError."""
    try:
        return listen(host, port)
    except CannotListenError as error:
        message = f"the local endpoint cannot listen on HOST={host} PORT={port}: {error}"
        raise EndpointStartError(message) from error


def start(
    host: str,
    port: int,
    endpoint_id: str | None = None,
    keys: Sequence[str] = (),
    keys_file: str | None = None,
) -> EndpointProcess:
    """Start the endpoint and wait until it answers.

    With `endpoint_id` it answers to no other. With `keys` or a file of them it asks for one, and
    the worker gets one of its own. The child ends with this process. Raises EndpointStartError,
    e.g. when the port is taken.
    """
    try:
        Keys(list(keys), Path(keys_file) if keys_file else None)
    except ValueError as error:
        raise EndpointStartError(str(error)) from None
    worker_key = secrets.token_urlsafe() if keys or keys_file else None
    asked = json.dumps([*keys, worker_key]) if worker_key else "[]"
    # The parent opens the socket: a taken port and the number of a free one are known here.
    with listen_on(host, port) as listener:
        port = listener.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "vllm_worker.local_endpoint",
            "--fd",
            str(listener.fileno()),
        ]
        only = ["--endpoint-id", endpoint_id] if endpoint_id else []
        process = subprocess.Popen(
            [*command, "--parent", str(os.getpid()), *only],
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            env={**os.environ, "PYTHONPATH": _python_path()}
            | {"API_KEY": asked, "API_KEYS_FILE": keys_file or ""},
        )
    address = _ANY_ADDRESS.get(host, host)
    url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
    environment = worker_environment(url, endpoint_id or DEFAULT_ID, key=worker_key)
    endpoint = EndpointProcess(host, port, url, environment, process)
    try:
        _wait_for_answer(endpoint, address)
    except BaseException:
        endpoint.stop()
        raise
    return endpoint


def worker_environment(
    base_url: str,
    endpoint_id: str = DEFAULT_ID,
    worker_id: str | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """The variables with which the RunPod SDK takes its jobs from an endpoint at `base_url`.

    Their form is the platform's: the SDK fills in `$ID` and `$RUNPOD_POD_ID` and appends
    `&name=value`, hence the query. With RUNPOD_ENDPOINT_ID it logs JSON,
    as on the platform.
    """
    base = f"{base_url}/v2/{endpoint_id}"
    return {
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=local",
        "RUNPOD_POD_ID": worker_id or f"local-{uuid.uuid4().hex[:8]}",
        "RUNPOD_ENDPOINT_ID": endpoint_id,
        "RUNPOD_AI_API_KEY": f"Bearer {key}" if key else "local",  # sent as it is
    }


def _python_path() -> str:
    """The child's PYTHONPATH: it must find the package that is running here."""
    root = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([root, inherited] if inherited else [root])


def _wait_for_answer(endpoint: EndpointProcess, address: str) -> None:
    # The socket listens already: the request waits in it until the child serves, and is reset
    # when the child ends. http.client, because others would go through a configured proxy.
    connection = http.client.HTTPConnection(address, endpoint.port, timeout=START_TIMEOUT_S)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        place = f"HOST={endpoint.host} PORT={endpoint.port}"
        message = f"the local endpoint on {place} did not start: {error}"
        raise EndpointStartError(message) from error
