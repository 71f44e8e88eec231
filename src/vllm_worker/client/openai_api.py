"""OpenAI's own client for an endpoint, and what commands ask with it."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vllm_worker.client.endpoint import Endpoint
from vllm_worker.client.errors import (
    ClientError,
    ExitCode,
    check_object,
    errors_explained,
    said_in,
)

if TYPE_CHECKING:
    import openai

CONNECT_TIMEOUT_S = 10.0


@contextmanager
def connected(endpoint: Endpoint, timeout_s: float) -> Iterator["openai.OpenAI"]:
    """OpenAI's client; what it raises inside becomes a ClientError. A request is sent once."""
    import openai  # takes a second, which `--help` need not wait for

    with (
        errors_explained(endpoint.openai_url),
        openai.OpenAI(**settings_of(endpoint, timeout_s)) as client,
    ):
        yield client


def settings_of(endpoint: Endpoint, timeout_s: float) -> dict[str, Any]:
    """The arguments of OpenAI's clients."""
    import openai

    return {
        "base_url": endpoint.openai_url,
        "api_key": endpoint.key or "none",  # it insists on one
        "timeout": openai.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        "max_retries": 0,
    }


def served_models(client: "openai.OpenAI") -> list[dict[str, Any]]:
    """The models and adapters that an endpoint lists, the base model first."""
    return [model.model_dump(warnings=False) for model in client.models.list()]


def served_names(client: "openai.OpenAI") -> list[str]:
    """Their names."""
    return [str(model["id"]) for model in served_models(client)]


def choose_model(client: "openai.OpenAI", wanted: str | None) -> str:
    """The model to ask: the one wanted, else the first that is served."""
    if wanted:
        return wanted
    if not (names := served_names(client)):
        raise ClientError("the endpoint lists no model; name one", ExitCode.USAGE)
    return names[0]


def posted(client: "openai.OpenAI", path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One whole answer, as JSON. Raises ClientError for one that is none."""
    answer = client.post(path, body=body, cast_to=object)
    return check_object(answer, f"{client.base_url}".rstrip("/") + path)


def chat_answer(client: "openai.OpenAI", body: dict[str, Any]) -> dict[str, Any]:
    """One whole answer to a chat, as JSON."""
    return posted(client, "/chat/completions", body)


def check_streams(stream: "openai.Stream[Any]") -> None:
    """Raise ClientError where an object is answered instead: an error, though with status 200."""
    if stream.response.headers.get("content-type", "").startswith("application/json"):
        said = said_in(stream.response.read().decode(errors="replace"))
        raise ClientError(said or f"{stream.response.url} does not stream")


def chat_chunks(client: "openai.OpenAI", body: dict[str, Any]) -> Generator[dict[str, Any]]:
    """A chat's chunks as they come; closing the iterator ends the request."""
    known = {"model", "messages"}
    with (
        errors_explained(str(client.base_url)),
        client.chat.completions.create(
            model=body["model"],
            messages=body["messages"],
            stream=True,
            # At the top of the request's JSON, where vLLM's own parameters are, too.
            extra_body={name: value for name, value in body.items() if name not in known},
        ) as stream,
    ):
        check_streams(stream)
        for chunk in stream:
            yield chunk.model_dump(warnings=False)
