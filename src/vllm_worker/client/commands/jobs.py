"""`vllm-worker job …`, `health` and `purge`: RunPod's own operations."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text
from typer import Argument, Option

from vllm_worker.client.cli import add_command, group
from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.messages import parse_json, piped, read_json
from vllm_worker.client.options import Sampling, Where
from vllm_worker.client.queue import Job, Queue, output_of, queue_of
from vllm_worker.client.screen import notes, print_json, print_table, say, show, visible

JobId = Annotated[str, Argument(metavar="JOB", help="Its id.")]
Prompt = Annotated[
    str | None, Argument(help="A prompt, the job's input as JSON, or @FILE with it.")
]
Chat = Annotated[bool, Option("--chat", help="Send the prompt as a message of a chat.")]
Stream = Annotated[bool, Option("--stream", help="Let the job stream.")]


def add_to(app: typer.Typer, panel: str) -> None:
    jobs = group("Run and follow jobs by RunPod's operations.")
    for function in (run, sync, stream, status, cancel, retry):
        add_command(jobs, function, function.__name__)
    app.add_typer(jobs, name="job", rich_help_panel=panel)
    add_command(app, health, "health", panel)
    add_command(app, purge, "purge", panel)


def run(where: Where, sampling: Sampling, prompt: Prompt = None, chat: Chat = False,
        stream: Stream = False) -> None:  # fmt: skip
    """Queue a job and print its id.

    Examples:
    vllm-worker job run 'Once upon a time' --max-tokens 50
    vllm-worker job run @input.json --endpoint abc123
    """
    job_input = input_of(prompt, sampling, chat, stream)
    with queue_of(where.find(), where.timeout) as queue:
        print(queue.run(job_input)["id"])


def sync(where: Where, sampling: Sampling, prompt: Prompt = None, chat: Chat = False) -> None:
    """Run a job, show how it goes, and print its output as JSON.

    Examples:
    vllm-worker job sync 'What is vLLM?' --chat
    """
    job_input = input_of(prompt, sampling, chat, False)
    with queue_of(where.find(), where.timeout) as queue:
        if queue.endpoint.is_queue or not _is_door(queue):
            job = queue.run(job_input)
            with cancelled_unless_ended(queue, job):
                finished = follow(queue.watch_own(job), job)
        else:
            finished = queue.run_sync(job_input)
    print_json(output_of(finished))


def stream(where: Where, sampling: Sampling, prompt: Prompt = None, chat: Chat = False) -> None:
    """Run a job that streams and print its outputs, one line of JSON each.

    Examples:
    vllm-worker job stream 'Once upon a time' --max-tokens 100
    """
    job_input = input_of(prompt, sampling, chat, True)
    with queue_of(where.find(), where.timeout) as queue:
        job = queue.run(job_input)
        with cancelled_unless_ended(queue, job):
            for output in queue.stream(job["id"]):
                show(json.dumps(output, ensure_ascii=False))
        output_of(queue.status(job["id"]))


def status(
    where: Where,
    job: JobId,
    watch: Annotated[bool, Option("--watch", "-w", help="Until it has ended.")] = False,
    as_json: Annotated[bool, Option("--json", help="For programs.")] = False,
) -> None:
    """Show a job: its status, delay, execution time and output.

    Examples:
    vllm-worker job status 3f6c… --watch
    """
    with queue_of(where.find(), where.timeout) as queue:
        found = queue.status(job)
        if watch:
            found = follow(queue.watch(found), found)
    if as_json:
        print_json(found)
        return
    show(summary(found))
    if found.get("error"):
        show(str(found["error"]))
    elif "output" in found:
        print_json(found["output"])


def cancel(where: Where, job: JobId) -> None:
    """End a job that waits or runs."""
    with queue_of(where.find(), where.timeout) as queue:
        show(summary(queue.cancel(job)))


def retry(where: Where, job: JobId) -> None:
    """Queue a job again that has failed or timed out."""
    with queue_of(where.find(), where.timeout) as queue:
        show(summary(queue.retry(job)))


def health(
    where: Where, as_json: Annotated[bool, Option("--json", help="For programs.")] = False
) -> None:
    """Count the endpoint's jobs and workers."""
    with queue_of(where.find(), where.timeout) as queue:
        found = queue.health()
    if as_json:
        print_json(found)
        return
    # A worker's own door says {"status": …, "jobs": n}.
    parts: Iterable[tuple[str, Any]] = found.items()
    rows = [
        (f"{what} {name}", number)
        for what, counts in parts
        for name, number in (counts.items() if isinstance(counts, dict) else [("", counts)])
    ]
    print_table(("", "now"), rows)


def purge(
    where: Where, yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Remove all jobs that wait in the queue. Those in progress go on."""
    endpoint = where.find()
    if not yes and not typer.confirm(f"Remove all jobs that wait at {endpoint.url}?"):
        raise ClientError("nothing was removed")
    with queue_of(endpoint, where.timeout) as queue:
        print(f"{queue.purge()} jobs removed")


def input_of(given: str | None, sampling: Sampling, chat: bool, stream: bool) -> Any:
    """A job's input: JSON as it is, or the native form for a prompt."""
    given = given if given is not None else piped("input", "give a prompt, JSON or @FILE")
    content: Any = None
    if given.startswith("@"):
        content = read_json(Path(given[1:]))
    elif given.lstrip().startswith("{"):
        content = parse_json(given, "the input")
    parameters = sampling.fields()
    if content is None:
        text = {"messages": [{"role": "user", "content": given}]} if chat else {"prompt": given}
        fields = text | ({"sampling_params": parameters} if parameters else {})
        return fields | ({"stream": True} if stream else {})
    if parameters:
        message = "sampling parameters go in the input, if it is JSON"
        raise ClientError(message, ExitCode.USAGE)
    if isinstance(content, dict) and content.keys() == {"input"}:
        content = content["input"]  # as the body of a request has it
    return content


@contextmanager
def cancelled_unless_ended(queue: Queue, job: Job) -> Iterator[None]:
    """A job that nobody waits for any more is cancelled, whatever the reason is, with a word."""
    try:
        yield
    except BaseException:
        ended = queue.abandon(job["id"])
        say(f"job {job['id']} {'is cancelled' if ended else 'goes on: it cannot be cancelled'}")
        raise


def follow(states: Iterator[Job], job: Job) -> Job:
    """Show a job until it has ended."""
    with Live(_line(job), console=notes(), transient=True) as live:
        for state in states:
            job = state
            live.update(_line(job))
    say(summary(job))
    return job


def _line(job: Job) -> Text:
    return Text(visible(summary(job)))


def summary(job: Job) -> str:
    """A job in one line."""
    times = [
        f"{label} {job[name] / 1000:.1f} s"
        for label, name in (("waited", "delayTime"), ("ran", "executionTime"))
        if isinstance(job.get(name), int | float)
    ]
    return " · ".join([f"job {job.get('id')} {job.get('status')}", *times])


def _is_door(queue: Queue) -> bool:
    """Whether the endpoint is a worker's own door, which has no queue."""
    return "workers" not in queue.health()
