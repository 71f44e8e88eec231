"""Post outputs to RunPod; a result is retried until RunPod has it, or refuses it.

Replaces one function of the SDK, which tries once: it asks aiohttp_retry for three tries, and for
exceptions on every error status, which it does not name as worth another try.
"""

import asyncio
import json
import logging
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientTimeout,
)
from aiohttp_retry import ExponentialRetry, RetryClient
from runpod.serverless.modules import rp_http

from vllm_worker.errors import TooLarge


async def _read(response: ClientResponse) -> bool:
    """Whether an answer that is no error will do. Raises when it comes in half."""
    await response.read()
    return True


_WORTH_ANOTHER_TRY: dict[str, Any] = {
    "statuses": {408, 429},  # beside every 5xx
    "exceptions": {ClientConnectionError, ClientPayloadError, TimeoutError},
    "evaluate_response_callback": _read,
}
_RESULT = ExponentialRetry(attempts=1000, max_timeout=10, **_WORTH_ANOTHER_TRY)
_RESULT_S = 600
"""Without its result a job is lost."""
_CHUNK = ExponentialRetry(attempts=3, **_WORTH_ANOTHER_TRY)
_CHUNK_S = 30
"""The chunks after it wait, and the result brings its text once more."""
_LARGE_CHUNK = ExponentialRetry(attempts=1, **_WORTH_ANOTHER_TRY)
_LARGEST_CHUNK = 1_000_000
"""Bytes that RunPod takes in a chunk, by its documentation: it may refuse more each time."""
_ONE_TRY = ClientTimeout(total=120)
_HEADERS = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}

_REFUSAL = (
    "RunPod refused the output of this job, {:,} bytes, with status {}. It takes 10 MB from /run "
    "and 20 MB from /runsync: if that is why, ask for fewer tokens, choices or log-probabilities."
)

logger = logging.getLogger(__name__)
_quiet = logging.getLogger(f"{__name__}.tries")
_quiet.setLevel(logging.WARNING)  # aiohttp_retry names no job; the SDK logs what is lost


def install() -> None:
    """Make the SDK post through this module."""
    rp_http._transmit = transmit


_REFUSED = (400, 413)
"""Statuses with which RunPod refuses a result, such as one that is too large."""


async def transmit(session: Any, url: str, body: str) -> None:
    """Posts a result or a chunk. Raises aiohttp's ClientError, which the SDK logs with the job.

    A chunk may arrive twice, when the connection broke after RunPod had read it. In place of a
    result that RunPod refuses comes an error that says so; else the job would never end.
    """
    # The SDK sets the job's id on the session that all jobs share: by the next try it is another's.
    headers = _HEADERS | {"X-Request-ID": session.headers.get("X-Request-ID", "")}
    is_result = url.startswith(rp_http.JOB_DONE_URL.partition("$ID")[0])
    try:
        await _post(session, url, headers, body, is_result)
    except ClientResponseError as error:
        is_error = body.startswith('{"error"')
        if not is_result or is_error or error.status not in _REFUSED:
            raise
        size = len(body.encode())
        logger.error("RunPod refused a result of %d bytes: status %d", size, error.status)
        failure = TooLarge(_REFUSAL.format(size, error.status)).as_output()
        await _post(session, url, headers, json.dumps(failure), is_result)


async def _post(
    session: Any, url: str, headers: dict[str, str], body: str, is_result: bool
) -> None:
    chunk = _LARGE_CHUNK if len(body) > _LARGEST_CHUNK else _CHUNK
    retry, limit = (_RESULT, _RESULT_S) if is_result else (chunk, _CHUNK_S)
    client = RetryClient(session, retry_options=retry, logger=_quiet)
    try:
        async with (
            asyncio.timeout(limit),
            client.post(url, data=body, headers=headers, timeout=_ONE_TRY) as response,
        ):
            response.raise_for_status()
            await response.read()
    except TimeoutError:
        raise ClientError("RunPod did not answer in time") from None
