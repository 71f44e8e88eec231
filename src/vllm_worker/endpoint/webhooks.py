"""Posting final results to the webhooks that jobs name, best effort."""

import asyncio
import logging

import httpx

from vllm_worker.endpoint.jobs import Job

RETRY_DELAYS_S = (10.0, 10.0)  # RunPod's [doc]
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Webhooks:
    """Called with each job that has ended."""

    def __init__(self) -> None:
        self._sending: set[asyncio.Task[None]] = set()  # a task without a reference may vanish

    def __call__(self, job: Job) -> None:
        if job.terms.webhook is not None:
            task = asyncio.ensure_future(_post(job.terms.webhook, job.view()))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)


async def _post(url: str, result: dict[str, object]) -> None:
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
                (await client.post(url, json=result)).raise_for_status()
            return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("webhook of job %s failed: %s", result["id"], error)
        if delay_s is not None:
            await asyncio.sleep(delay_s)
