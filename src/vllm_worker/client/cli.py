"""The command `vllm-worker`, put together."""

import inspect
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.options import expanded


def group(help: str) -> typer.Typer:
    """A command that has commands."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,  # it prints the values of variables, keys among them
    )


def add_command(
    app: typer.Typer, function: Callable[..., None], name: str, panel: str | None = None
) -> None:
    """Make a function one of `app`'s commands. A ClientError ends it with its line and exit code.

    A parameter that is a dataclass becomes an option per field. Of the function's documentation,
    what is below a line `Examples:` is shown line by line.
    """
    text, _, examples = inspect.cleandoc(function.__doc__ or "").partition("Examples:")
    run = _guarded(expanded(function))
    app.command(name, help=text, epilog=_as_code(examples), rich_help_panel=panel)(run)


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
        except (KeyboardInterrupt, typer.Abort):  # the latter at a question
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read has seen enough. Python would complain as it flushes the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.FAILED) from None

    return run
