"""Two workers behind a balancer: a full one and one that ends are not noticed by clients."""

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import pytest

from tests.support.http_worker import HEADERS, http_worker, wait_for_status, wait_until_idle
from tests.support.nginx import PROGRAM, balancer
from tests.support.served_model import SMALL
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Debian's package nginx-light")

ROOM, CLIENTS = 4, 2
"""How many requests a worker holds, and how many are under way while one is drained."""


class Fleet(NamedTuple):
    """`url` is the balancer's."""

    url: str
    workers: list[tuple[WorkerProcess, str]]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        workers = []
        for _ in range(2):
            worker, url = http_worker(MAX_CONCURRENCY=str(ROOM), **SMALL)
            stack.callback(worker.stop)
            workers.append((worker, url))
        for worker, url in workers:
            wait_for_status(worker, url, 200)
        folder = tmp_path_factory.mktemp("nginx")
        url = stack.enter_context(balancer([url for _, url in workers], folder))
        yield Fleet(url, workers)


def generate(url: str, tokens: int) -> httpx.Response:
    """A stream that is read to its end."""
    sampling = {"max_tokens": tokens, "ignore_eos": True}
    body = {"prompt": "x", "stream": True, "sampling_params": sampling}
    return httpx.post(f"{url}/generate", json=body, headers=HEADERS, timeout=120, trust_env=False)


def tokens_in(answer: httpx.Response) -> int:
    """How many tokens a stream had that came to its end."""
    assert answer.status_code == 200, answer.text
    *events, done, _ = answer.text.split("\n\n")
    assert done == "data: [DONE]"
    return int(json.loads(events[-1].removeprefix("data: "))["usage"]["output"])


def test_what_a_full_worker_refuses_the_other_one_takes(fleet: Fleet) -> None:
    (_, full), (_, other) = fleet.workers
    with ThreadPoolExecutor(2 * ROOM) as pool:
        held = [pool.submit(generate, full, 900) for _ in range(ROOM)]
        wait_until_full(full)
        refused = generate(full, 1)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        answers = list(pool.map(generate, [fleet.url] * ROOM, [50] * ROOM))
        assert [tokens_in(answer) for answer in answers] == [50] * ROOM
        assert not any(one.done() for one in held)
        assert [tokens_in(one.result()) for one in held] == [900] * ROOM
    wait_until_idle(other)


def wait_until_full(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        while client.get(f"{url}/ping").json()["jobs"] < ROOM:
            pass


def test_none_fails_while_a_worker_is_drained(fleet: Fleet) -> None:
    (worker, url), _ = fleet.workers
    stop = threading.Event()

    def ask_on(_: int) -> list[int]:
        counts = []
        while not stop.is_set():
            counts.append(tokens_in(generate(fleet.url, 100)))
        return counts

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask_on, number) for number in range(CLIENTS)]
        wait_for_jobs(url)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        after = generate(fleet.url, 5)
        stop.set()
        counts = [count for one in asking for count in one.result()]
    assert tokens_in(after) == 5
    assert set(counts) == {100}
    assert "Traceback" not in worker.log


def wait_for_jobs(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        while not client.get(f"{url}/ping").json()["jobs"]:
            pass
