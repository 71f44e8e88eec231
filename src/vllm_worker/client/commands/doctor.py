"""`vllm-worker doctor`."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.text import Text
from typer import Option

from vllm_worker.client.checkup import Checkup, Finding, Verdict
from vllm_worker.client.cli import add_command
from vllm_worker.client.endpoint import Endpoint
from vllm_worker.client.errors import ExitCode
from vllm_worker.client.openai_api import connected
from vllm_worker.client.options import Where
from vllm_worker.client.queue import queue_of
from vllm_worker.client.screen import out, print_json, say

_MARKS = {
    Verdict.GOOD: ("ok", "green"),
    Verdict.NOTED: ("note", "yellow"),
    Verdict.BAD: ("BAD", "bold red"),
    Verdict.SKIPPED: ("-", "dim"),
}


def add_to(app: typer.Typer, panel: str) -> None:
    add_command(app, doctor, "doctor", panel)


def doctor(
    where: Where,
    model: Annotated[str | None, Option("--model", "-m", help="That requests name.")] = None,
    machine: Annotated[
        bool | None,
        Option("--machine/--no-machine", help="Look at this machine, too. Default: if it serves."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="For programs.")] = False,
    paste: Annotated[bool, Option("--paste", help="As a block for an issue.")] = False,
) -> None:
    """Find out why an endpoint does not work: it is asked for one tiny job of each kind.

    The exit code is 1 when something is wrong.

    Examples:
    vllm-worker doctor
    vllm-worker doctor --endpoint abc123 --paste
    """
    endpoint = where.find()
    here = machine if machine is not None else _is_here(endpoint)
    wanted = model or where.in_use().model
    quiet = as_json or paste
    findings = []
    for finding in _findings(endpoint, wanted, where.timeout, here):
        findings.append(finding)
        if not quiet:
            _show(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if paste:
        print("\n".join(["```", *map(_line, findings), "```"]))
    bad = [finding.check for finding in findings if finding.verdict is Verdict.BAD]
    if bad:
        say(f"wrong: {', '.join(bad)}")
        raise typer.Exit(ExitCode.FAILED)


def _findings(
    endpoint: Endpoint, model: str | None, timeout_s: float, here: bool
) -> Iterator[Finding]:
    with connected(endpoint, timeout_s) as client, queue_of(endpoint, timeout_s) as queue:
        yield from Checkup(client, queue, model).run()
    if here:
        from vllm_worker.machine.facts import machine_findings  # so that others need not wait

        for check, problem, text in machine_findings(os.environ):
            yield Finding(check, Verdict.BAD if problem else Verdict.GOOD, problem or text)


def _is_here(endpoint: Endpoint) -> bool:
    return urlsplit(endpoint.url).hostname in ("127.0.0.1", "localhost", "::1")


def _show(finding: Finding) -> None:
    mark, style = _MARKS[finding.verdict]
    line = Text(_line(finding))
    line.stylize(style, 0, len(mark))
    out().print(line)


def _line(finding: Finding) -> str:
    mark, _ = _MARKS[finding.verdict]
    seconds = f"{finding.seconds:6.2f} s" if finding.seconds else " " * 8
    return f"{mark:<4} {finding.check:<14} {seconds}  {finding.text}"
