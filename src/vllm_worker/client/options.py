"""Options that several commands share, each group as a dataclass."""

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial, wraps
from math import isfinite
from typing import Annotated, Any, get_type_hints

from typer import Option

from vllm_worker.client import profiles
from vllm_worker.client.endpoint import (
    LOCAL_URL,
    RUNPOD_URL,
    Endpoint,
    at_url,
    is_runpod,
    on_runpod,
)
from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.messages import no_number

MAX_TIMEOUT_S = 7 * 24 * 3600
"""As long as a job can take on RunPod."""

_WHERE = "Where to"
_ANSWER = "The answer"


@dataclass
class Where:
    """Which endpoint a command asks. See docs/cli.md for what goes before what."""

    endpoint: Annotated[
        str | None,
        Option(
            "--endpoint", metavar="ID", help="A queue endpoint on RunPod.", rich_help_panel=_WHERE
        ),
    ] = None
    url: Annotated[
        str | None,
        Option("--url", help="Any endpoint's URL; also OPENAI_BASE_URL.", rich_help_panel=_WHERE),
    ] = None
    api_key: Annotated[
        str | None,
        Option(
            "--api-key",
            metavar="KEY",
            help="Also RUNPOD_API_KEY for RunPod, else OPENAI_API_KEY.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    profile: Annotated[
        str | None,
        Option(
            "--profile",
            metavar="NAME",
            help="One of `vllm-worker profile list`.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    timeout: Annotated[
        float,
        Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MAX_TIMEOUT_S,
            help="For an answer to begin.",
            rich_help_panel=_WHERE,
        ),
    ] = 600.0

    def find(self) -> Endpoint:
        """The endpoint and its key: by the options, else the environment, else the profile in use,
        else the local one. Raises ClientError for options that exclude each other.
        """
        given = [name for name in ("endpoint", "url", "profile") if getattr(self, name) is not None]
        for name in given:
            if not getattr(self, name).strip():
                raise ClientError(f"--{name} is empty", ExitCode.USAGE)
        if len(given) > 1:
            message = f"--{given[0]} cannot be combined with --{given[1]}"
            raise ClientError(message, ExitCode.USAGE)
        profile = self.in_use()
        endpoint_id, url, key = profile.endpoint, profile.url, self.api_key or profile.api_key
        if endpoint_id:
            base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL") or RUNPOD_URL
            return on_runpod(endpoint_id, key or profiles.runpod_key(os.environ), base)
        found = at_url(url or LOCAL_URL)
        if not key and is_runpod(found.url):
            key = profiles.runpod_key(os.environ)
        return at_url(found.url, key or os.environ.get("OPENAI_API_KEY") or None)

    def in_use(self) -> profiles.Profile:
        """The profile that is meant, where options and the environment are one as well."""
        if self.endpoint or self.url:
            return profiles.Profile(self.endpoint, self.url)
        if not self.profile and (url := os.environ.get("OPENAI_BASE_URL")):
            return profiles.Profile(url=url)
        known = profiles.load(profiles.file_of(os.environ))
        name = self.profile or known.use
        return known.find(name) if name else profiles.Profile()


@dataclass
class Sampling:
    """Sampling parameters, OpenAI's and vLLM's. What is not given is the endpoint's to choose."""

    max_tokens: Annotated[int | None, Option("--max-tokens", min=1, rich_help_panel=_ANSWER)] = None
    temperature: Annotated[
        float | None, Option("--temperature", min=0, rich_help_panel=_ANSWER)
    ] = None
    top_p: Annotated[float | None, Option("--top-p", min=0, max=1, rich_help_panel=_ANSWER)] = None
    top_k: Annotated[int | None, Option("--top-k", rich_help_panel=_ANSWER)] = None
    min_p: Annotated[float | None, Option("--min-p", min=0, max=1, rich_help_panel=_ANSWER)] = None
    seed: Annotated[int | None, Option("--seed", rich_help_panel=_ANSWER)] = None
    stop: Annotated[
        list[str] | None, Option("--stop", help="May be repeated.", rich_help_panel=_ANSWER)
    ] = None
    presence_penalty: Annotated[
        float | None, Option("--presence-penalty", min=-2, max=2, rich_help_panel=_ANSWER)
    ] = None
    frequency_penalty: Annotated[
        float | None, Option("--frequency-penalty", min=-2, max=2, rich_help_panel=_ANSWER)
    ] = None
    repetition_penalty: Annotated[
        float | None, Option("--repetition-penalty", rich_help_panel=_ANSWER)
    ] = None
    others: Annotated[
        list[str] | None,
        Option(
            "--set",
            "-p",
            metavar="NAME=VALUE",
            help="Any other field of the request; VALUE as JSON or as text.",
            rich_help_panel=_ANSWER,
        ),
    ] = None

    def fields(self) -> dict[str, Any]:
        """Those that were given, as fields of a request."""
        named = {
            field.name: value
            for field in fields(self)
            if field.name != "others" and (value := getattr(self, field.name)) not in (None, [])
        }
        for name, value in named.items():
            if isinstance(value, float) and not isfinite(value):
                message = f"--{name.replace('_', '-')} takes a number, not {value}"
                raise ClientError(message, ExitCode.USAGE)
        return named | dict(map(_assignment, self.others or []))


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ClientError(f"--set takes NAME=VALUE, not {text!r}", ExitCode.USAGE)
    try:
        return name, json.loads(value, parse_constant=partial(no_number, "--set"))
    except (ValueError, RecursionError):
        return name, value


def expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` as Typer has to see it: with one option per field of a parameter's dataclass."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _options_of(groups[name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))

    @wraps(command)
    def run(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in fields(group)
    ]
