"""The SDK's fitness checks, in a process of their own and before the model is loaded.

The SDK runs them after the engine has been built. They would see the memory that the engine has
left, keep a CUDA context in the worker's process, and on failure leave the engine's processes
behind.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from vllm_worker.errors import StartFailure
from vllm_worker.observability.timeline import step
from vllm_worker.serverless.run import set_log_level

NO_CHECKS = {"RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}
"""The environment in which the SDK runs none."""

_TIMEOUT_S = 300
"""The slowest check waits 30 s for a GPU; on a cold disk PyTorch is read first."""
_KILL_S = 5
_FAILED = 1
"""The SDK's exit code when a check has failed."""


@contextmanager
def fitness_checks(on_runpod: bool) -> Iterator[Callable[[], None]]:
    """The checks begin; what is yielded waits for their end, and raises StartFailure unless they
    have passed. On a local endpoint there are none.
    """
    chosen_by_user = all(os.environ.get(name, "").lower() == "true" for name in NO_CHECKS)
    checks = None if chosen_by_user or not on_runpod else _start()
    os.environ.update(NO_CHECKS)  # the SDK's own turn comes later
    try:
        yield lambda: _require(checks)
    finally:
        if checks and checks.poll() is None:
            _kill(checks)


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def _kill(checks: subprocess.Popen[bytes]) -> None:
    """With the programs that the checks have started. A process that waits for a broken driver
    cannot be killed, and is not waited for.
    """
    with suppress(ProcessLookupError):
        os.killpg(checks.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        checks.wait(_KILL_S)


def _require(checks: subprocess.Popen[bytes] | None) -> None:
    if checks is None:
        return
    with step("the SDK's fitness checks"):
        try:
            code = checks.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise StartFailure(
                f"the fitness checks of RunPod's SDK did not end in {_TIMEOUT_S} s. "
                "A GPU that hangs does that; RUNPOD_SKIP_GPU_CHECK=true skips its check."
            ) from None
    if code == _FAILED:
        raise StartFailure(
            "this machine has failed a fitness check of RunPod's SDK, which is named above. "
            "docs/deployment.md has the variables that change or skip the checks."
        )
    if code:
        how = f"was ended by signal {-code}" if code < 0 else "failed"
        raise StartFailure(f"the process of the fitness checks of RunPod's SDK {how}")


def _main() -> None:
    set_log_level()
    try:
        checks = import_module("runpod.serverless.modules.rp_fitness")
        asyncio.run(checks.run_fitness_checks())
    except ImportError:
        return  # an older SDK has none
    except ValueError as error:  # it reads its variables as numbers
        sys.stderr.write(f"a variable of the fitness checks is wrong: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    _main()
