"""handler.py, with a socket that tells how many requests the engine holds.

Per connection, a line with two numbers, requests known to the frontend and those that the engine
core's scheduler runs beside the one that asked it, and then the tasks of the event loop, a line
each. The core is asked by a request of few tokens.
"""

import asyncio
import os
import runpy
from contextlib import aclosing
from typing import Any


def main() -> None:
    from prometheus_client import REGISTRY

    from vllm_worker.engine import vllm_engine
    from vllm_worker.engine.protocol import RequestContext
    from vllm_worker.jobs.inputs import NativeJob

    class InspectableEngine(vllm_engine.VLLMEngine):
        async def start(self) -> None:
            await super().start()
            # Kept, since uvloop closes a server that nobody holds.
            self.server = await asyncio.start_unix_server(self.tell, os.environ["INSPECT_SOCKET"])

        async def tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            frontend, tasks = self.unfinished_requests, asyncio.all_tasks()
            beside = await self.running_in_core() - 1
            lines = [f"{frontend} {beside}", *(described(task) for task in tasks)]
            writer.write("\n".join(lines).encode())
            writer.close()

        async def running_in_core(self) -> int:
            probe = NativeJob(prompt="x", stream=True, sampling_params={"max_tokens": 3})
            async with aclosing(self.generate(probe, RequestContext("probe"))) as deltas:
                await anext(deltas)
                return gauge("running") + gauge("waiting")

    def described(task: asyncio.Task[Any]) -> str:
        return getattr(task.get_coro(), "__qualname__", task.get_name())

    def gauge(state: str) -> int:
        name = f"vllm:num_requests_{state}"
        samples: list[Any] = [s for metric in REGISTRY.collect() for s in metric.samples]
        return int(sum(sample.value for sample in samples if sample.name == name))

    vllm_engine.VLLMEngine = InspectableEngine  # type: ignore[misc]
    runpy.run_path("handler.py", run_name="__main__")


if __name__ == "__main__":
    main()
