"""The real gateway before real workers: on RunPod's queue, as the local endpoint has it, and over
HTTP.
"""

import os
from collections.abc import Iterator

import openai
import pytest

from tests.gateway.running import KEYS, Gateway, running_gateway
from tests.support.http_worker import running_http_worker
from tests.support.running import running_worker_and_endpoint
from tests.support.served_model import NAME, serving
from tests.support.small_models import make_embedding_model, make_transcription_model
from tests.support.worker_process import WorkerProcess

FILE = """
port: 0
providers:
  queue: {{endpoint: local, api: {queue}/v2, wait: 60, price: 0.0003}}
  http: {{url: {http}/v1, key: HTTP_KEY}}
  vectors: {{endpoint: local, api: {vectors}/v2, discover: found}}
  ears: {{endpoint: local, api: {ears}/v2}}
  down: {{url: "http://127.0.0.1:1/v1"}}
models:
  default/demo: [{{provider: queue, model: demo}}, {{provider: http, model: demo}}]
  default/first: [{{provider: down, model: demo}}, {{provider: http, model: demo, order: 2}}]
  team-a/queue: [{{provider: queue, model: demo}}]
  team-a/http: [{{provider: http, model: demo}}]
  team-a/down: [{{provider: down, model: demo}}]
  default/whisper: [{{provider: ears, model: {name}}}]
keys:
  alice: {{key: ALICE}}
  bob: {{key: BOB, workspaces: [team-a]}}
  slow: {{key: SLOW, requests_per_minute: 3}}
cache: {{kind: memory}}
"""


@pytest.fixture(scope="session")
def workers() -> Iterator[dict[str, tuple[WorkerProcess, str]]]:
    """Of the embedded model, each with its address, by the name of its provider."""
    with (
        running_worker_and_endpoint({}) as (queue, endpoint),
        running_http_worker(ENABLE_AUTO_TOOL_CHOICE="1", TOOL_CALL_PARSER="hermes") as (http, url),
    ):
        yield {"queue": (queue, endpoint.url), "http": (http, url)}


@pytest.fixture(scope="session")
def other_models() -> Iterator[dict[str, str]]:
    """The addresses of workers with other kinds of models, likewise."""
    with (
        serving(make_embedding_model) as vectors,
        serving(make_transcription_model) as ears,
    ):
        yield {"vectors": vectors.url, "ears": ears.url}


@pytest.fixture(scope="session")
def gateway(
    workers: dict[str, tuple[WorkerProcess, str]],
    other_models: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    urls = {name: url for name, (_, url) in workers.items()}
    file = tmp_path_factory.mktemp("gateway") / "gateway.yaml"
    file.write_text(FILE.format(**urls, **other_models, name=NAME))
    with running_gateway(file, os.environ | KEYS) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def alice(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.client("alice's") as client:
        yield client


@pytest.fixture(scope="session")
def bob(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.client("bob's") as client:
        yield client
