"""`vllm-worker complete`, `embed`, `transcribe`, `models` and `tokenize`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from vllm_worker.client.cli import add_command
from vllm_worker.client.errors import ClientError, cut_off
from vllm_worker.client.messages import piped
from vllm_worker.client.openai_api import (
    check_streams,
    choose_model,
    connected,
    posted,
    served_models,
)
from vllm_worker.client.options import Sampling, Where
from vllm_worker.client.queue import queue_of
from vllm_worker.client.screen import answer_shown, print_json, print_table, show
from vllm_worker.client.transcription import transcription

Model = Annotated[str | None, Option("--model", "-m", help="Default: the first served.")]
Raw = Annotated[bool, Option("--raw", help="Print the answer's JSON.")]


def add_to(app: typer.Typer, panel: str) -> None:
    for function in (complete, embed, transcribe, models, tokenize):
        add_command(app, function, function.__name__, panel)


def complete(
    where: Where,
    sampling: Sampling,
    prompt: Annotated[str | None, Argument(help="Default: what is piped in.")] = None,
    model: Model = None,
    raw: Raw = False,
) -> None:
    """Let a model go on with a text.

    Examples:
    vllm-worker complete 'Once upon a time' --max-tokens 50
    """
    text, fields, endpoint = _text(prompt), sampling.fields(), where.find()
    with connected(endpoint, where.timeout) as client:
        body = {"model": choose_model(client, model or where.in_use().model), "prompt": text}
        if raw:
            asked = body | fields
            print_json(posted(client, "/completions", asked))
            return
        with (
            client.completions.create(**body, stream=True, extra_body=fields) as stream,
            answer_shown(markdown=False) as view,
        ):
            ended = None
            check_streams(stream)
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    view.add(choice.text)
                    ended = choice.finish_reason or ended
        if not ended:
            raise cut_off(endpoint.openai_url)


def embed(
    where: Where,
    texts: Annotated[list[str] | None, Argument(help="Default: the lines piped in.")] = None,
    model: Model = None,
    raw: Raw = False,
) -> None:
    """Embed texts: a vector each, as a line of JSON.

    Examples:
    vllm-worker embed 'a text' 'another'
    """
    inputs = texts or [line for line in _text(None).splitlines() if line.strip()]
    with connected(where.find(), where.timeout) as client:
        chosen = choose_model(client, model or where.in_use().model)
        body = {"model": chosen, "input": inputs}
        answer = posted(client, "/embeddings", body)
        if raw:
            print_json(answer)
            return
        vectors = sorted(answer["data"], key=lambda item: int(item["index"]))
        if len(vectors) != len(inputs):
            raise ClientError(f"{len(vectors)} vectors came for {len(inputs)} texts")
        for item in vectors:
            show(str(item["embedding"]))


def transcribe(
    where: Where,
    file: Annotated[Path, Argument(help="Audio: wav, mp3, flac, …")],
    model: Model = None,
    language: Annotated[str | None, Option("--language", help="Such as en.")] = None,
    raw: Raw = False,
) -> None:
    """Write down what is said in a file.

    Examples:
    vllm-worker transcribe talk.mp3 --model openai/whisper-large-v3-turbo
    """
    endpoint = where.find()
    with connected(endpoint, where.timeout) as client:
        chosen = choose_model(client, model or where.in_use().model)
        fields = {"model": chosen} | ({"language": language} if language else {})
        answer = transcription(endpoint, client, file, fields, where.timeout)
        if raw:
            print_json(answer)
        else:
            show(str(answer["text"]).strip())


def models(
    where: Where, as_json: Annotated[bool, Option("--json", help="For programs.")] = False
) -> None:
    """List the models and adapters that the endpoint serves.

    Examples:
    vllm-worker models --url http://127.0.0.1:8000/v1
    """
    with connected(where.find(), where.timeout) as client:
        found = served_models(client)
        if as_json:
            print_json(found)
            return
        if not found:
            raise ClientError("the endpoint lists no model")
        print_table(("model", "context", "from", "since"), map(_row, found))


def _row(model: dict[str, Any]) -> tuple[object, ...]:
    since = time.localtime(model.get("created") or 0)
    return (
        model["id"],
        model.get("max_model_len") or "-",
        f"adapter of {model['parent']}" if model.get("parent") else model.get("owned_by", "-"),
        time.strftime("%Y-%m-%d %H:%M", since),
    )


def tokenize(
    where: Where,
    text: Annotated[str | None, Argument(help="Default: what is piped in.")] = None,
    model: Model = None,
    raw: Raw = False,
) -> None:
    """Show a text's tokens as the model has them: their number, and each.

    Examples:
    vllm-worker tokenize 'How many are these?'
    """
    prompt, named = _text(text), model or where.in_use().model
    body = {"prompt": prompt, "return_token_strs": True} | ({"model": named} if named else {})
    with queue_of(where.find(), where.timeout) as queue:
        answer = queue.call_route("/tokenize", body)
        if raw:
            print_json(answer)
            return
        tokens = zip(answer["tokens"], answer["token_strs"] or [], strict=False)
        show(f"{answer['count']} tokens")
        print_table(("id", "token"), tokens)


def _text(given: str | None) -> str:
    return given if given is not None else piped("text", "give one, or pipe it in")
