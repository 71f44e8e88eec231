"""`vllm-worker bench`."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from vllm_worker.client.cli import add_command
from vllm_worker.client.endpoint import Endpoint
from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.load_page import page
from vllm_worker.client.load_test import Load, Sample, figures, from_file, run_load, synthetic
from vllm_worker.client.messages import Message
from vllm_worker.client.openai_api import choose_model, connected, settings_of
from vllm_worker.client.options import Where
from vllm_worker.client.screen import notes, print_json, print_table, show


def add_to(app: typer.Typer, panel: str) -> None:
    add_command(app, bench, "bench", panel)


def bench(
    where: Where,
    requests: Annotated[int, Option("--requests", "-n", min=1, help="How many in all.")] = 100,
    concurrency: Annotated[int, Option("--concurrency", "-c", min=1, help="At once.")] = 16,
    rate: Annotated[
        float | None, Option("--rate", min=0.001, help="Requests a second, at random moments.")
    ] = None,
    input_tokens: Annotated[int, Option("--input-tokens", min=1, help="Some, each.")] = 128,
    output_tokens: Annotated[int, Option("--output-tokens", min=1, help="Exactly, each.")] = 128,
    dataset: Annotated[
        Path | None,
        Option("--dataset", metavar="FILE", help="Lines of JSON with prompt or messages."),
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of made-up chats.")] = 0,
    model: Annotated[str | None, Option("--model", "-m", help="Default: the first served.")] = None,
    plot: Annotated[
        Path | None, Option("--plot", metavar="FILE", help="Write an HTML page with charts.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="For programs.")] = False,
) -> None:
    """Load an endpoint with streamed chats, and measure when their tokens come.

    Chats are made up, unless --dataset has them; then answers end by themselves, after
    --output-tokens at most. The exit code is 1 when a request failed.

    Examples:
    vllm-worker bench --requests 200 --concurrency 32
    vllm-worker bench --endpoint abc123 --rate 5 --dataset chats.jsonl --plot bench.html
    """
    endpoint = where.find()
    with connected(endpoint, where.timeout) as client:
        name = choose_model(client, model or where.in_use().model)
    fields = {"model": name, "max_tokens": output_tokens}
    if dataset:
        chats = from_file(dataset, requests)
    else:
        chats, fields = synthetic(requests, input_tokens, seed), fields | {"ignore_eos": True}
    load = Load(requests, concurrency, rate)
    samples: list[Sample] = []
    with suppress(KeyboardInterrupt):  # what was measured until then is shown
        _run(endpoint, where.timeout, chats, fields, load, samples)
    numbers = figures(samples)
    print_json(numbers) if as_json else _show(numbers)
    if plot:
        _write(plot, page(f"{name}: {requests} requests", samples, numbers))
    if len(samples) < requests:
        raise ClientError(f"stopped after {len(samples)} of {requests}", ExitCode.INTERRUPTED)
    if numbers["failed"]:
        raise ClientError(f"{numbers['failed']} of {requests} requests failed")


def _run(
    endpoint: Endpoint,
    timeout_s: float,
    chats: Sequence[list[Message]],
    fields: dict[str, Any],
    load: Load,
    samples: list[Sample],
) -> None:
    import openai
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())

    async def run() -> None:
        async with openai.AsyncOpenAI(**settings_of(endpoint, timeout_s)) as client:
            with Progress(*columns, console=notes(), transient=True) as progress:
                bar = progress.add_task("requests", total=len(chats))
                done = partial(progress.advance, bar)
                await run_load(client, chats, fields, load, samples, done)

    asyncio.run(run())


def _show(numbers: dict[str, Any]) -> None:
    plain = {name: value for name, value in numbers.items() if not isinstance(value, dict)}
    print_table(("", ""), [(name.replace("_", " "), f"{plain[name]:,}") for name in plain])
    times = {name: value for name, value in numbers.items() if name.endswith("_ms") and value}
    print()
    print_table(
        ("ms", "p50", "p90", "p99"),
        [(name[:-3].replace("_", " "), *values.values()) for name, values in times.items()],
    )
    for error, number in numbers["errors"].items():
        show(f"{number} ×: {error}")


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content)
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}"
        raise ClientError(message, ExitCode.USAGE) from error
