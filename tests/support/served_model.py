"""A worker that serves a model from a folder, and its clients."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import runpod

from tests.support.running import running_worker_and_endpoint

NAME = "small"
SMALL = {
    # A start as short as can be: nothing is compiled, and the cache is as small as the model.
    "ENFORCE_EAGER": "1",
    "KV_CACHE_MEMORY_BYTES": str(256 * 1024**2),
    # Random weights leave the next token open by a hair, which bfloat16 would round away.
    "DTYPE": "float32",
}


class ServedModel:
    """`url` is the endpoint's, `client` OpenAI's; the methods send jobs as runpod's SDK does."""

    def __init__(self, endpoint_url: str) -> None:
        base_url = f"{endpoint_url}/v2/local/openai/v1"
        self.url = endpoint_url
        self.client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        self._endpoint = runpod.Endpoint("local", api_key="none")
        self._endpoint.rp_client.endpoint_url_base = f"{endpoint_url}/v2"

    def outputs(self, job: dict[str, Any]) -> list[Any]:
        """The outputs of a job that has to succeed."""
        return self._answer(job, "COMPLETED")["output"]

    def error(self, job: dict[str, Any]) -> dict[str, Any]:
        """The error of a job that has to fail."""
        error = json.loads(self._answer(job, "FAILED")["error"])
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    def call(self, route: str, **body: Any) -> Any:
        """What the route answers to a body for this model."""
        (output,) = self.outputs(openai_job(route, **body))
        return output

    def refusal(self, route: str, **body: Any) -> dict[str, Any]:
        """The error that the route answers."""
        return self.error(openai_job(route, **body))

    def _answer(self, job: dict[str, Any], status: str) -> dict[str, Any]:
        # Not Endpoint.run_sync, which drops the status and the error.
        answer = self._endpoint.rp_client.post("local/runsync", {"input": job}, timeout=120)
        assert answer["status"] == status, answer
        return answer


def openai_job(route: str, **body: Any) -> dict[str, Any]:
    return {"openai_route": route, "openai_input": {"model": NAME} | body}


@contextlib.contextmanager
def serving(make: Callable[[Path], None], **environment: str) -> Iterator[ServedModel]:
    """A worker for the model that `make` puts into a folder, on an endpoint of its own."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        model = (
            {"MODEL_NAME": folder}
            | {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": NAME}
            | SMALL
            | environment
        )
        with running_worker_and_endpoint(model) as (_, endpoint):
            yield ServedModel(endpoint.url)
