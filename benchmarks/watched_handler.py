"""handler.py, with an eye on its event loop."""

import asyncio
import runpy
from pathlib import Path

from benchmarks.lag import watch
from vllm_worker.worker import Worker

if __name__ == "__main__":
    _start = Worker.start
    _watching: list[asyncio.Task[None]] = []

    async def start_watched(worker: Worker) -> None:
        _watching.append(asyncio.create_task(watch()))
        await _start(worker)

    setattr(Worker, "start", start_watched)  # noqa: B010
    runpy.run_path(str(Path(__file__).parents[1] / "handler.py"), run_name="__main__")
