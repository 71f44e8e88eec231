"""A worker's metrics against what its jobs say themselves, and vLLM's log of requests."""

import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.running import running_worker_and_endpoint
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess
from vllm_worker.local_endpoint.process import EndpointProcess

NATIVE = {"prompt": "RunPod is", "sampling_params": {"max_tokens": 13, "ignore_eos": True}}
COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[WorkerProcess, EndpointProcess]]:
    with running_worker_and_endpoint({"METRICS_PORT": "0", "LOG_REQUESTS": "1"}) as both:
        yield both


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(worker: WorkerProcess) -> Samples:
    """Values by name and labels."""
    url = worker.wait_for(r"metrics on (\S+)").group(1)
    families = text_string_to_metric_families(httpx.get(url, trust_env=False).text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Over all samples with these labels."""
    return sum(
        value
        for (sample_name, sample_labels), value in samples.items()
        if sample_name == name and labels.items() <= dict(sample_labels).items()
    )


def jobs(worker: WorkerProcess) -> dict[str, float]:
    """Jobs that ended, as `kind outcome code`."""
    return {
        " ".join(dict(labels)[name] for name in ("kind", "outcome", "code")).strip(): value
        for (name, labels), value in scrape(worker).items()
        if name == "vllm_worker_jobs_total"
    }


class Client:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def run(self, job_input: Any) -> str:
        return str(self._http.post("/run", json={"input": job_input}).json()["id"])

    def status(self, job_id: str) -> Any:
        return self._http.get(f"/status/{job_id}").json()

    def cancel(self, job_id: str) -> None:
        self._http.post(f"/cancel/{job_id}")

    def outputs(self, job_input: Any) -> Any:
        job_id = self.run(job_input)
        eventually(lambda: self.status(job_id)["status"] in FINAL, timeout=60)
        return self.status(job_id).get("output")


@pytest.fixture
def metrics_client(started: tuple[WorkerProcess, EndpointProcess]) -> Iterator[Client]:
    url = f"{started[1].url}/v2/local"
    with httpx.Client(base_url=url, trust_env=False) as http:
        yield Client(http)


def openai(route: str, **body: Any) -> dict[str, Any]:
    return {"openai_route": route, "openai_input": {"model": "demo", "max_tokens": 7} | body}


def test_the_metrics_are_those_of_the_jobs(
    started: tuple[WorkerProcess, EndpointProcess], metrics_client: Client
) -> None:
    worker, _ = started
    warm = scrape(worker)
    whole = metrics_client.outputs(NATIVE)
    streamed = metrics_client.outputs(NATIVE | {"stream": True})
    (chat,) = metrics_client.outputs(openai(CHAT, messages=[{"role": "user", "content": "Hi"}]))
    text = metrics_client.outputs(openai(COMPLETIONS, prompt="Hi", stream=True))
    metrics_client.outputs({"prompt": 5})
    metrics_client.outputs(openai(COMPLETIONS, prompt="Hi", model="secret"))
    ended = {
        "native completed": 2,
        f"{CHAT} completed": 1,
        f"{COMPLETIONS} completed": 1,
        f"{COMPLETIONS} failed 404": 1,
        "unreadable failed 400": 1,
    }
    eventually(lambda: sum(jobs(worker).values()) == 6)
    assert jobs(worker) == ended
    counted = scrape(worker)
    usages = [whole[-1]["usage"], streamed[-1]["usage"]]
    tokens_in = "vllm_worker_input_tokens_total"
    tokens_out = "vllm_worker_output_tokens_total"
    assert total(counted, tokens_in, kind="native") == sum(usage["input"] for usage in usages)
    assert total(counted, tokens_out, kind="native", model="demo") == 26
    assert total(counted, tokens_in, kind=CHAT) == chat["usage"]["prompt_tokens"]
    assert total(counted, tokens_out, kind=CHAT) == chat["usage"]["completion_tokens"]
    assert len(streamed) == 3
    assert total(counted, "vllm_worker_chunks_total", kind="native") == len(whole + streamed)
    assert total(counted, "vllm_worker_chunks_total", kind=COMPLETIONS) == len(text)
    assert total(counted, "vllm_worker_job_duration_seconds_count") == 6
    assert total(counted, "vllm_worker_job_first_token_seconds_count") == 4
    assert total(counted, "vllm_worker_jobs_in_flight") == 0
    assert "secret" not in str(counted)
    lag = "vllm_worker_event_loop_lag_seconds_count"
    eventually(lambda: total(scrape(worker), lag) > total(counted, lag))
    # vLLM's own, which also count the warm-up.
    generated, answered = "vllm:generation_tokens_total", "vllm:request_success_total"
    assert total(counted, generated) - total(warm, generated) == total(counted, tokens_out)
    assert total(counted, answered) - total(warm, answered) == 4


def test_vllms_log_of_requests_has_their_parameters_and_no_prompts(
    started: tuple[WorkerProcess, EndpointProcess], metrics_client: Client
) -> None:
    worker, _ = started
    message = {"role": "user", "content": "a secret"}
    metrics_client.outputs(openai(CHAT, messages=[message], stop=["my stop"]))
    native = metrics_client.run(
        NATIVE | {"prompt": "a secret", "sampling_params": {"stop": ["no stop"]}}
    )
    worker.wait_for(r"Received request chatcmpl-\S+: params: SamplingParams\(.*stop=\['my stop'\]")
    worker.wait_for(f"Added request {native}-")
    worker.wait_for(f"job {native}: .*completed")
    assert "a secret" not in worker.log
    assert "no stop" not in worker.log


def test_a_job_in_flight_is_shown_and_then_its_cancelling(
    started: tuple[WorkerProcess, EndpointProcess], metrics_client: Client
) -> None:
    worker, _ = started
    before = jobs(worker)
    job_id = metrics_client.run(
        NATIVE | {"sampling_params": {"max_tokens": 2000, "ignore_eos": True}}
    )
    eventually(lambda: total(scrape(worker), "vllm_worker_jobs_in_flight") == 1)
    metrics_client.cancel(job_id)
    eventually(lambda: total(scrape(worker), "vllm_worker_jobs_in_flight") == 0)
    assert jobs(worker) == before | {"native cancelled": 1}


def test_an_open_connection_does_not_hold_up_the_end_and_the_port_is_free_again(
    started: tuple[WorkerProcess, EndpointProcess],
) -> None:
    worker, endpoint = started
    url = httpx.URL(worker.wait_for(r"metrics on (\S+)").group(1))
    assert url.port
    with socket.create_connection((url.host, url.port)) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\n")
        endpoint.close()
        worker.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert worker.exit_code() == 0
        assert time.monotonic() - asked < 20
    socket.create_server((url.host, url.port)).close()
