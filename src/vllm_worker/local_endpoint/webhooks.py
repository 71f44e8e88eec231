"""Posting final results to the webhooks that jobs name, best effort."""

import asyncio
import logging
from functools import cached_property
from typing import Any

import httpx

from vllm_worker.local_endpoint.jobs import Job

RETRY_DELAYS_S = (10.0, 10.0)  # RunPod's [doc]
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Webhooks:
    """Called with each job that has ended, in the event loop."""

    def __init__(self) -> None:
        self._sending: set[asyncio.Task[None]] = set()  # a task without a reference may vanish

    def __call__(self, job: Job) -> None:
        if job.policy.webhook is not None:
            task = asyncio.ensure_future(self._send(job.policy.webhook, job.view()))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # One for all, when first needed: making it loads the certificates.
        return httpx.AsyncClient(timeout=TIMEOUT_S)

    async def _send(self, url: str, result: dict[str, Any]) -> None:
        for delay_s in (0.0, *RETRY_DELAYS_S):
            await asyncio.sleep(delay_s)
            try:
                (await self._client.post(url, json=result)).raise_for_status()
                return
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                log.warning("webhook of job %s: %s", result["id"], _reason(error))


def _reason(error: Exception) -> str:
    """Without the URL, which often carries a secret."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__
