"""What this process does while the engine's processes start."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vllm.v1.engine.core_client import MPClient


@contextmanager
def run_while_engine_starts(call: Callable[[], object]) -> Iterator[None]:
    """Run `call` in a thread while the block waits for the engine's processes to start.

    The thread starts when the processes have: one that is forked while another thread holds a lock
    may wait for that lock forever.
    """
    thread = threading.Thread(target=_call, args=[call], daemon=True, name="while engine starts")
    begin = MPClient._start_mm_warmup

    def started(self: MPClient) -> None:
        begin(self)
        thread.start()

    MPClient._start_mm_warmup = started  # vLLM calls it at just that moment
    try:
        yield
    finally:
        MPClient._start_mm_warmup = begin
    if thread.ident:
        thread.join()


def _call(call: Callable[[], object]) -> None:
    with suppress(Exception):  # who needs it calls it again, and says what is wrong
        call()
