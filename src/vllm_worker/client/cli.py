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
from vllm_worker.client.screen import visible


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
            _check_texts(values)
            function(**values)
            sys.stdout.flush()
        except typer.Exit:
            raise
        except (KeyboardInterrupt, typer.Abort):  # the latter at a question
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            raise typer.Exit(_complained(error)) from None

    return run


def _check_texts(values: dict[str, Any]) -> None:
    """Raise ClientError for bytes on the command line that are no text, which no JSON can carry."""
    for name, value in values.items():
        texts = value if isinstance(value, list) else [value]
        try:
            "".join(text for text in texts if isinstance(text, str)).encode()
        except UnicodeEncodeError as error:
            raise ClientError(f"{name} is not UTF-8", ExitCode.USAGE) from error


def _complained(error: Exception) -> ExitCode:
    """Say in one line what has happened. Returns the exit code."""
    if isinstance(error, ClientError):
        _complain(str(error))
        return error.exit_code
    if isinstance(error, OSError):
        # Python would complain as it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read has seen enough
            _complain(f"the output cannot be written: {error.strerror or error}")
        return ExitCode.FAILED
    _complain(f"this should not have happened: {type(error).__name__}: {error}")
    return ExitCode.FAILED


def _complain(text: str) -> None:
    print(f"vllm-worker: {visible(text)}", file=sys.stderr)
