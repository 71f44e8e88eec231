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
            for name, value in values.items():
                _check_text(name, value)
            function(**values)
            sys.stdout.flush()
        except ClientError as error:
            _complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except (KeyboardInterrupt, typer.Abort):  # the latter at a question
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:  # whoever read has seen enough
            _write_no_more()
            raise typer.Exit(ExitCode.FAILED) from None
        except OSError as error:
            _write_no_more()
            _complain(f"the output cannot be written: {error.strerror or error}")
            raise typer.Exit(ExitCode.FAILED) from None
        except Exception as error:
            _complain(f"this should not have happened: {type(error).__name__}: {error}")
            raise typer.Exit(ExitCode.FAILED) from None

    return run


def _check_text(name: str, value: Any) -> None:
    """Raise ClientError for bytes on the command line that are no text, which no JSON can carry."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ClientError(f"{name} is not UTF-8", ExitCode.USAGE) from error


def _complain(text: str) -> None:
    print(f"vllm-worker: {visible(text)}", file=sys.stderr)


def _write_no_more() -> None:
    """Python would complain as it flushes the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
