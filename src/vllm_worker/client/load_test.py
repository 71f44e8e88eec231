"""A load test: chats sent at a concurrency or a rate, and when each of their tokens came.

It measures at the client, as a user has it, and needs neither the model's tokenizer nor vLLM: an
endpoint's own count of tokens is taken.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from vllm_worker.client.errors import ClientError, ExitCode, cut_off, errors_explained
from vllm_worker.client.messages import Message, read_bytes, user_message

if TYPE_CHECKING:
    import openai

_WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "at")
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Load:
    """How much is sent. Without a `rate` (requests per second, at random moments), a request
    follows as soon as one has ended.
    """

    requests: int
    concurrency: int
    rate: float | None = None


@dataclass
class Sample:
    """One request. Times in seconds, `began` since the start of the test."""

    began: float
    arrivals: list[float] = field(default_factory=list)
    """When each chunk with text came, since the request was sent."""
    seconds: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    error: str | None = None


def synthetic(number: int, tokens: int, seed: int) -> list[list[Message]]:
    """Chats of some `tokens` tokens each: of so many short words, no two alike at the beginning,
    so that no cache of prefixes answers.
    """
    draw = random.Random(seed)
    return [[user_message(" ".join(draw.choices(_WORDS, k=tokens)), [])] for _ in range(number)]


def from_file(file: Path, number: int) -> list[list[Message]]:
    """Chats from lines of JSON, each with `prompt` or `messages`; over again if there are fewer."""
    found = []
    for line_number, line in enumerate(read_bytes(file).splitlines(), start=1):
        try:
            content = json.loads(line) if line.strip() else None
            if content is not None:
                found.append(content.get("messages") or [user_message(content["prompt"], [])])
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            message = f"{file}:{line_number} is not a JSON object with prompt or messages"
            raise ClientError(message, ExitCode.USAGE) from error
    if not found:
        raise ClientError(f"{file} has no line", ExitCode.USAGE)
    return list(islice(cycle(found), number))


async def run_load(
    client: "openai.AsyncOpenAI",
    chats: Sequence[list[Message]],
    fields: dict[str, Any],
    load: Load,
    samples: list[Sample],
    done: Callable[[], None],
) -> None:
    """Send the chats. Each adds its sample as it ends, in which an error is, and calls `done`."""
    began, room = time.monotonic(), asyncio.Semaphore(load.concurrency)

    async def one(chat: list[Message]) -> None:
        sample = Sample(time.monotonic() - began)
        try:
            with errors_explained(str(client.base_url)):
                await _measure(client, fields | {"messages": chat}, sample)
        except ClientError as error:
            sample.error = str(error)
        sample.seconds = time.monotonic() - began - sample.began
        samples.append(sample)
        room.release()
        done()

    async with asyncio.TaskGroup() as group:
        for chat in chats:
            if load.rate:
                await asyncio.sleep(random.expovariate(load.rate))
            await room.acquire()
            group.create_task(one(chat))


async def _measure(client: "openai.AsyncOpenAI", body: dict[str, Any], sample: Sample) -> None:
    sent = time.monotonic()
    known = {"model", "messages"}
    stream = await client.chat.completions.create(
        model=body["model"],
        messages=body["messages"],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={name: value for name, value in body.items() if name not in known},
    )
    ended = None
    async with stream:
        async for chunk in stream:
            if chunk.usage:
                # As a float first, so that what is no count is found here.
                sample.tokens = int(float(chunk.usage.completion_tokens or 0))
                sample.prompt_tokens = int(float(chunk.usage.prompt_tokens or 0))
            for choice in chunk.choices[:1]:
                ended = choice.finish_reason or ended
                if choice.delta.content:
                    sample.arrivals.append(time.monotonic() - sent)
    if not ended:
        raise cut_off(str(client.base_url))


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """What came out. Rates are per second; times in milliseconds, by percentile.

    `first_token` is until the first text came, `gap` between two chunks, `token` the time per
    token after the first, and `request` until the end.
    """
    good = [sample for sample in samples if sample.error is None]
    spoke = [sample for sample in good if sample.arrivals]
    seconds = max((sample.began + sample.seconds for sample in samples), default=0.0)
    tokens = sum(sample.tokens for sample in good)
    return {
        "requests": len(samples),
        "failed": len(samples) - len(good),
        "errors": dict(Counter(sample.error for sample in samples if sample.error)),
        "seconds": round(seconds, 3),
        "prompt_tokens": sum(sample.prompt_tokens for sample in good),
        "output_tokens": tokens,
        "requests_per_s": round(len(good) / seconds, 3) if seconds else 0.0,
        "output_tokens_per_s": round(tokens / seconds, 1) if seconds else 0.0,
        "first_token_ms": percentiles([sample.arrivals[0] for sample in spoke]),
        "gap_ms": percentiles([b - a for sample in spoke for a, b in pairwise(sample.arrivals)]),
        "token_ms": percentiles([per_token(sample) for sample in spoke if sample.tokens > 1]),
        "request_ms": percentiles([sample.seconds for sample in good]),
    }


def per_token(sample: Sample) -> float:
    """Seconds per token after the first."""
    return (sample.arrivals[-1] - sample.arrivals[0]) / (sample.tokens - 1)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """PERCENTILES of times, in milliseconds; none of nothing."""
    if not seconds:
        return {}
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    return {f"p{p}": round(cuts[p - 1] * 1000, 2) for p in PERCENTILES}
