"""A local endpoint, and a worker on one, for the length of a block."""

import contextlib
import threading
from collections.abc import Iterator

from tests.support.worker_process import WorkerProcess, running_worker
from vllm_worker.local_endpoint import process


@contextlib.contextmanager
def running_endpoint() -> Iterator[process.EndpointProcess]:
    endpoint = process.start("127.0.0.1", 0)
    try:
        yield endpoint
    finally:
        endpoint.stop()


@contextlib.contextmanager
def running_worker_and_endpoint(
    environment: dict[str, str],
) -> Iterator[tuple[WorkerProcess, process.EndpointProcess]]:
    """A worker on an endpoint of its own, which ends with it."""
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment | environment) as worker,
    ):
        end_with(worker, endpoint)
        yield worker, endpoint
        endpoint.close()  # so that the worker's poll is not held, which its end waits for


def end_with(worker: WorkerProcess, endpoint: process.EndpointProcess) -> None:
    """End the endpoint when the worker ends, whose jobs nobody would answer: a worker that died
    fails the tests that ask it at once, and none of them waits for its client's time limit.
    """

    def watch() -> None:
        worker.process.wait()
        endpoint.stop()

    threading.Thread(target=watch, daemon=True).start()
