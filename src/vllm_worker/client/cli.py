"""The command `vllm-worker`, put together."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.options import Command, expanded


def group(help: str) -> typer.Typer:
    """A command that has commands."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,  # it prints the values of variables, keys among them
    )


def command(app: typer.Typer, name: str, panel: str | None = None) -> Callable[[Command], Command]:
    """Make a function one of `app`'s commands. A ClientError ends it with its line and exit code.

    A parameter that is a dataclass becomes an option per field. Of its documentation, what is
    below a line `Examples:` is shown as it is.
    """

    def register(function: Command) -> Command:
        text, _, examples = (function.__doc__ or "").partition("Examples:")
        app.command(
            name,
            help=text.strip(),
            epilog=_as_code(examples),
            rich_help_panel=panel,
        )(_guarded(expanded(function)))
        return function

    return register


def _as_code(examples: str) -> str | None:
    lines = [line.strip() for line in examples.strip().splitlines()]
    # A paragraph each: what stands between is run together in an epilog.
    return "Examples:\n\n" + "\n\n".join(f"`{line}`" for line in lines) if lines else None


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(**values: Any) -> None:
        try:
            function(**values)
            sys.stdout.flush()
        except ClientError as error:
            print(f"vllm-worker: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read has seen enough. Python would complain as it flushes the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.FAILED) from None

    return run
