"""The table of bad input in http mode: each answer has its true status."""

from collections import Counter
from typing import Any

import httpx
import pytest

from tests.support.bad_inputs import CASES, REFERENCE, Case, without_ids
from tests.support.http_requests import Asked, as_request
from tests.support.http_worker import HEADERS, KEY, wait_until_idle
from tests.support.worker_process import WorkerProcess


@pytest.fixture
def door_http(door_url: str) -> Any:
    with httpx.Client(base_url=door_url, headers=HEADERS, trust_env=False, timeout=120) as client:
        yield client


def ask(client: httpx.Client, asked: Asked) -> httpx.Response:
    return client.request(asked.method, asked.path, content=asked.content)


def test_what_is_wrong_with_a_request_is_its_status(door_http: httpx.Client, door_url: str) -> None:
    whole = [job for job in REFERENCE if not job.get("stream")]
    reference = [asked for job in whole if (asked := as_request(job))]
    assert len(reference) > 5
    before = [text_of(ask(door_http, asked)) for asked in reference]
    requests = [(case, asked) for case in CASES if (asked := as_request(case.input))]
    assert len(requests) > 600
    wrong = [line for case, asked in requests if (line := problem(case, ask(door_http, asked)))]
    assert wrong == []
    wait_until_idle(door_url)
    assert [text_of(ask(door_http, asked)) for asked in reference] == before


def problem(case: Case, answer: httpx.Response) -> str | None:
    """What is wrong with the answer to a case."""
    wanted = 200 if case.says is None else case.code
    if answer.status_code != wanted:
        return f"{case.name}: {answer.status_code}, not {wanted}: {answer.text[:200]}"
    if case.says is None:
        return None
    error = answer.json()["error"]
    if case.says not in error["message"]:
        return f"{case.name}: {error['message']}"
    return None


def text_of(answer: httpx.Response) -> str:
    """The answer as it came, but for ids and times."""
    assert answer.status_code == 200, answer.text
    return without_ids(answer.text)


def test_a_thousand_wrong_keys_are_refused_and_in_no_log(
    door_http: httpx.Client, door_worker: tuple[WorkerProcess, str]
) -> None:
    worker, url = door_worker
    near = [KEY[:-1], f"{KEY}x", KEY.upper(), f"x{KEY}", KEY.replace("-", "_"), f"{KEY},{KEY}"]
    wrong: list[str | None] = [*near, "another-key", "Bearer", "ключ", None]
    statuses = Counter[int]()
    with httpx.Client(base_url=url, trust_env=False) as client:
        for number in range(1008):
            key = wrong[number % len(wrong)]
            name, start = ((b"x-api-key", b""), (b"authorization", b"Bearer "))[number % 2]
            headers = [(name, start + key.encode())] if key else []
            answer = client.post("/generate", json={}, headers=headers)
            statuses[answer.status_code] += 1
    assert statuses == {401: 1008}
    assert door_http.get("/v1/models").status_code == 200
    wait_until_idle(url)
    assert not any(key in worker.log for key in (KEY, KEY.upper(), *near, "another-key", "ключ"))
