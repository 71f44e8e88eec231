"""Two gateways behind nginx, which share a cache and limits in Redis."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.running import KEYS, Gateway, running_gateway
from tests.support.http_worker import free_port
from tests.support.nginx import PROGRAM, balancer
from tests.support.worker_process import WorkerProcess

_REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (_REDIS and PROGRAM), reason="redis-server and nginx are not here"),
]
FILE = """
port: 0
providers: {{http: {{url: {url}/v1, key: HTTP_KEY}}}}
models: {{default/demo: [{{provider: http, model: demo}}]}}
keys: {{alice: {{key: ALICE}}, slow: {{key: SLOW, requests_per_minute: 5}}}}
cache: {{kind: redis, url: REDIS_URL}}
"""
QUESTION: Any = [{"role": "user", "content": "What is shared?"}]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("redis"), str(free_port())
    assert _REDIS
    server = subprocess.Popen([_REDIS, "--port", port, "--save", "", "--dir", str(folder)])
    time.sleep(1)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def gateways(
    workers: dict[str, tuple[WorkerProcess, str]],
    redis: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Gateway, Gateway]]:
    file = tmp_path_factory.mktemp("gateway") / "gateway.yaml"
    file.write_text(FILE.format(url=workers["http"][1]))
    environ = os.environ | KEYS | {"REDIS_URL": redis}
    with running_gateway(file, environ) as one, running_gateway(file, environ) as other:
        yield one, other


def test_an_answer_of_one_is_given_by_the_other(gateways: tuple[Gateway, Gateway]) -> None:
    seen = []
    for gateway in gateways:
        with gateway.client("alice's") as client:
            answered = client.chat.completions.with_raw_response.create(
                model="default/demo", messages=QUESTION, extra_body={"cache": {"ttl": 60}}
            )
            seen.append((answered.headers["x-cache"], answered.parse().id))
    (first, id_), (second, same) = seen
    assert (first, second) == ("miss", "hit")
    assert same == id_


def test_a_limit_holds_for_both(gateways: tuple[Gateway, Gateway], tmp_path: Path) -> None:
    with balancer([gateway.url for gateway in gateways], tmp_path) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="slow's", max_retries=0)
        refused = 0
        for _ in range(8):
            try:
                client.chat.completions.create(
                    model="default/demo", messages=QUESTION, max_tokens=1
                )
            except openai.RateLimitError:
                refused += 1
    assert refused == 3
    assert all("slow: default/demo" in gateway.log for gateway in gateways)
