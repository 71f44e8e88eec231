"""`vllm-worker chat`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from vllm_worker.client.cli import add_command
from vllm_worker.client.conversation import Conversation
from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.messages import read_pipe, schema_format, tools_of, user_message
from vllm_worker.client.openai_api import (
    chat_answer,
    chat_chunks,
    choose_model,
    connected,
    served_names,
)
from vllm_worker.client.options import Sampling, Where
from vllm_worker.client.screen import print_json


def add_to(app: typer.Typer, panel: str) -> None:
    add_command(app, chat, "chat", panel)


def chat(
    where: Where,
    sampling: Sampling,
    words: Annotated[
        list[str] | None, Argument(metavar="[MODEL] [TEXT]", help="Without TEXT, a conversation.")
    ] = None,
    model: Annotated[str | None, Option("--model", "-m", help="Default: the first served.")] = None,
    system: Annotated[str | None, Option("--system", "-s", help="The system prompt.")] = None,
    image: Annotated[list[str] | None, Option("--image", help="A file or URL; repeatable.")] = None,
    json_schema: Annotated[
        Path | None, Option("--json-schema", metavar="FILE", help="Which the answer has to follow.")
    ] = None,
    tools: Annotated[
        Path | None, Option("--tools", metavar="FILE", help="Functions that may be called.")
    ] = None,
    provider: Annotated[
        str | None, Option("--provider", help="Of a gateway: ask this one.")
    ] = None,
    raw: Annotated[bool, Option("--raw", help="Print the answer's JSON.")] = False,
) -> None:
    """Ask a model: once with TEXT, or in a conversation. Text from a pipe goes behind TEXT.

    Examples:
    vllm-worker chat 'What is k8s?'
    vllm-worker chat --endpoint abc123
    cat notes.txt | vllm-worker chat 'Summarise:' --max-tokens 200
    vllm-worker chat 'A person' --json-schema person.json --raw
    """
    endpoint = where.find().through(provider) if provider else where.find()
    fields = sampling.fields() | _formats(json_schema, tools)
    with connected(endpoint, where.timeout) as client:
        served = partial(served_names, client)
        named, text = model_and_text(words or [], model or where.in_use().model, served)
        text = _with_piped(text)
        asked = Conversation(
            partial(chat_chunks, client),
            choose_model(client, named),
            fields,
            messages=[{"role": "system", "content": system}] if system else [],
            models=served,
        )
        if text is None and not image:
            if sys.stdin is None:
                raise ClientError("there is no text, and nobody to type one", ExitCode.USAGE)
            import readline  # noqa: F401 (gives input() a history and editing)

            asked.run(input)
            return
        asked.messages.append(user_message(text or "", image or []))
        if raw:
            print_json(chat_answer(client, asked.body()))
        elif not asked.answer():
            raise ClientError("stopped", ExitCode.INTERRUPTED)


def _formats(json_schema: Path | None, tools: Path | None) -> dict[str, Any]:
    schema = {"response_format": schema_format(json_schema)} if json_schema else {}
    return schema | ({"tools": tools_of(tools)} if tools else {})


def model_and_text(
    words: list[str], model: str | None, served: Callable[[], list[str]]
) -> tuple[str | None, str | None]:
    """What the words are: a model and a text, or only one of them."""
    match words:
        case []:
            return model, None
        case [one]:
            # A text has spaces, and names of models do not.
            is_model = model is None and not any(map(str.isspace, one)) and one in served()
            return (one, None) if is_model else (model, one)
        case [named, text]:
            return named, text
    message = "there is too much: put TEXT in quotes"
    raise ClientError(message, ExitCode.USAGE)


def _with_piped(text: str | None) -> str | None:
    """Behind the text what comes by a pipe; None when there is neither."""
    more = (read_pipe() or "").strip()
    return "\n\n".join(part for part in (text, more) if part) or text
