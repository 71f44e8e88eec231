"""The command `vllm-worker`, also as `python -m vllm_worker`: one for clients and for workers."""

import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOWrapper
from pathlib import Path

import typer

from vllm_worker.client.cli import group
from vllm_worker.client.commands import bench, chat, doctor, jobs, profiles, text

_ASK, _JOBS, _LOOK, _MACHINE = "Ask a model", "Jobs", "Endpoints", "On a worker's machine"


def main() -> None:
    """Run the command line."""
    # So that a job that somebody waits for is cancelled then, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with Path(os.devnull).open("w") as nowhere:
        # A shell may have closed them, and a locale may lack letters that are to be written.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with redirect_stdout(sys.stdout or nowhere), redirect_stderr(sys.stderr or nowhere):
            application()()


def application() -> typer.Typer:
    """All commands. Options that say where to go are the same for all that ask an endpoint."""
    app = group(
        "Talk to an endpoint from a terminal: on this machine, on RunPod, or anywhere else; and "
        "see what a worker would do on this machine. docs/cli.md has more."
    )
    chat.add_to(app, _ASK)
    text.add_to(app, _ASK)
    jobs.add_to(app, _JOBS)
    doctor.add_to(app, _LOOK)
    bench.add_to(app, _LOOK)
    profiles.add_to(app, _LOOK)
    app.command("gateway", rich_help_panel=_LOOK)(_gateway)
    _add_machine_commands(app)
    return app


def _add_machine_commands(app: typer.Typer) -> None:
    """They have parsers of their own, for options whose value may be left out."""
    helps = {
        "config": "Show the configuration that a worker would have here, or what is wrong with it.",
        "seams": "Compare the installed vLLM with what the worker knows of it.",
        "gpu-check": "Try the worker on this machine's GPUs, from its start to its end.",
    }
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    for name, help in helps.items():
        app.command(
            name,
            help=help,
            rich_help_panel=_MACHINE,
            context_settings=anything,
            add_help_option=False,
        )(_machine_command)


def _gateway(file: Path) -> None:
    """Serve many endpoints behind one URL, as a YAML file says; docs/gateway.md describes it."""
    from vllm_worker.gateway.__main__ import main

    sys.exit(main(file))


def _machine_command(context: typer.Context) -> None:
    from vllm_worker.machine.commands import main  # so that others need not wait for it

    assert context.info_name
    sys.exit(main([context.info_name, *context.args]))


if __name__ == "__main__":
    main()
