"""The lag of an event loop: how late a timer comes, as the process itself sees it.

The process writes what it sees to the file that BENCHMARK_LAG names; times are of a clock that all
processes share.
"""

import asyncio
import os
import struct
import time
from pathlib import Path

_TICK_S = 0.02
_RECORD = struct.Struct("dd")  # when a timer came, and how late, in seconds


async def watch() -> None:
    """Runs for ever, in the loop that is watched."""
    file = os.open(os.environ["BENCHMARK_LAG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        due = time.perf_counter() + _TICK_S
        await asyncio.sleep(_TICK_S)
        now = time.perf_counter()
        os.write(file, _RECORD.pack(now, now - due))


def read(file: Path, begun: float, ended: float) -> list[float]:
    """The lags between two times, in milliseconds."""
    records = _RECORD.iter_unpack(file.read_bytes())
    return [1000 * lag for when, lag in records if begun <= when <= ended]
