"""`make fuzz`: random input against the real engine, through the local endpoint.

Jobs and requests of every kind, several at a time, until the time is over. Each must end in time,
well or with an error that tells the client what is wrong with it. Between them an ordinary job must
be answered as ever, and at the end the engine must hold no request. An input that breaks this is
made as small as it gets and printed, each kind of failure once; then the exit code is 1.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from vllm.sampling_params import SamplingParams

from tests.fuzz.asking import Asker, Stuck
from tests.fuzz.described import ask_described, described_cases, fields_of_bodies
from tests.fuzz.inputs import jobs
from tests.fuzz.turns import Ask, Turns
from tests.support.running import running_endpoint
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess, requests_held, running_worker

SMALL = {
    "MAX_MODEL_LEN": "128",
    "MAX_NUM_SEQS": "64",
    "VLLM_MAX_N_SEQUENCES": "8",
    "VLLM_ENABLE_RESPONSES_API_STORE": "1",
    "DISABLE_LOG_STATS": "0",  # the look into the engine's core is by its statistics
}
"""A worker whose longest request is short."""


def main() -> None:
    arguments = _arguments()
    say(f"--minutes {arguments.minutes:g} --seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder, running_endpoint() as endpoint:
        socket = Path(folder, "inspect")
        environment = endpoint.environment | SMALL | {"INSPECT_SOCKET": str(socket)}
        with running_worker(environment, "tests/support/inspectable_handler.py") as worker:
            try:
                turns = Turns(say, arguments.seed, time.monotonic() + 60 * arguments.minutes)
                fuzz(Asker(endpoint.url), turns, worker)
                check_that_nothing_is_held(socket)
            except Stuck as stuck:
                say(f"FAILED: {stuck}\n{worker.log[-3000:]}")
                turns.failures.add("stuck")
            endpoint.close()  # so that the worker's poll is not held, which its end waits for
    say(f"{turns.tally}, {len(turns.failures)} kinds of failures")
    sys.exit(bool(turns.failures))


def fuzz(asker: Asker, turns: Turns, worker: WorkerProcess) -> None:
    """Until the time is over. Raises Stuck."""
    description = asker.description()
    parameters = [name for name in SamplingParams.__struct_fields__ if not name.startswith("_")]
    own = jobs(parameters, fields_of_bodies(description)), asker.ask
    described = described_cases(description), partial(ask_described, asker.gateway_url)
    kinds: Iterator[tuple[Any, Ask]] = cycle([own, own, described])  # these are slow to make
    usual = asker.usual_answers()
    while not turns.over:
        turns.take(*next(kinds))
        if worker.process.poll() is not None:
            raise Stuck("the worker has ended")
        if (answers := asker.usual_answers()) != usual:
            raise Stuck(f"ordinary jobs are answered {answers}, no longer {usual}")


def check_that_nothing_is_held(inspect_socket: Path) -> None:
    """Raises Stuck when the engine still has requests that nobody waits for."""
    try:
        eventually(lambda: requests_held(inspect_socket) == (0, 0), timeout=60)
    except AssertionError:
        raise Stuck(f"the engine holds requests: {requests_held(inspect_socket)}") from None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    return parser.parse_args()


def say(text: str) -> None:
    print(f"fuzz: {text}", flush=True)


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)  # for deep inputs, on the way out
    output: Any = sys.stdout
    output.reconfigure(errors="backslashreplace")
    # The SDK, which comes with conftest.py, has everything logged.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    main()
