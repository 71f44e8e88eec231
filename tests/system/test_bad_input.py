"""The table of bad input through RunPod's queue: it leaves the worker as it was."""

import json
from typing import Any

import httpx

from tests.support.bad_inputs import CASES, REFERENCE, Case, without_ids
from tests.support.worker_process import WorkerProcess
from vllm_worker.local_endpoint.process import EndpointProcess


def test_after_the_whole_table_twice_the_answers_are_the_same(
    worker: WorkerProcess, endpoint: EndpointProcess
) -> None:
    with httpx.Client(base_url=f"{endpoint.url}/v2/local", trust_env=False, timeout=120) as client:
        before = [answer(client, job) for job in REFERENCE]
        arriving = [case for case in CASES if case.arrives]
        assert len(arriving) > 600
        for case in [*arriving, *arriving]:
            check(client, case)
        assert [answer(client, job) for job in REFERENCE] == before


def answer(client: httpx.Client, job: Any) -> str:
    """The job's outputs as they came, but for ids and times."""
    done = post(client, job).json()
    assert done["status"] == "COMPLETED", done
    return without_ids(json.dumps(done["output"]))


def check(client: httpx.Client, case: Case) -> None:
    done = post(client, case.input)
    if done.status_code in (400, 413):  # no JSON, or more than RunPod takes: no job of the worker's
        assert case.says is not None
        return
    status = done.json()["status"]
    assert status == ("COMPLETED" if case.says is None else "FAILED"), (case.name, done.text[:500])
    if case.says is not None:
        assert json.loads(done.json()["error"])["code"] == case.code, case.name


def post(client: httpx.Client, job: Any) -> httpx.Response:
    """As the JSON that Python writes, which has NaN in it."""
    return client.post("/runsync", content=json.dumps({"input": job}))
