"""The typed forms of a job's `input`, and the errors for everything else.

Three shapes of input lead to two kinds of job:

    {"openai_route": "/v1/…", "openai_input": {…}}      RunPod's OpenAI gateway
    {"route": "/v1/…", "body": {…}, "method": "POST"}   the same, in general form
    {"prompt": "…"} or {"messages": […]}                RunPod's native form
"""

from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.headers import HEADERS
from vllm_worker.jobs.native_input import as_fields
from vllm_worker.jobs.transportable import check_transportable
from vllm_worker.jobs.validation import bad_request, json_type

SAMPLING_PREFIX = "sampling_params."
"""Prefix of a native job's parameter in an error."""

_ROUTE = "^/[^/]"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class _Input(BaseModel):
    """Strict: a number in quotes is a problem, and so is a field that nobody knows."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


_HEADER_LENGTH = 512


def _check_headers(headers: dict[str, Any]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() not in HEADERS:
            raise _wrong_header(name, f"is not among {', '.join(HEADERS)}")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise _wrong_header(name, "should be a string of printable ASCII characters")
        if len(value) > _HEADER_LENGTH:
            raise _wrong_header(name, f"is longer than {_HEADER_LENGTH} characters")
    return {name.lower(): value for name, value in headers.items()}


def _wrong_header(name: str, why: str) -> PydanticCustomError:
    return PydanticCustomError("header", "{name} {why}", {"name": name, "why": why})


Headers = Annotated[dict[str, Any], AfterValidator(_check_headers)]


class OpenAIJob(_Input):
    """A request to one route of vLLM's application.

    Without `method` a body makes it a POST; GET routes come from the gateway with no body or `{}`.
    """

    route: Annotated[str, Field(pattern=_ROUTE)]
    body: dict[str, Any] | None = None
    headers: Headers = {}
    given_method: Method | None = Field(default=None, alias="method")

    @property
    def path(self) -> str:
        """The route without its query, as vLLM's application will read it."""
        return unquote(self.route.partition("?")[0])

    @property
    def method(self) -> Method:
        return self.given_method or ("POST" if self.body else "GET")


class GatewayInput(_Input):
    """The input that RunPod's OpenAI gateway makes of an HTTP request; it may grow fields."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    openai_route: Annotated[str | None, Field(pattern=_ROUTE)] = None
    openai_input: dict[str, Any] | None = None
    openai_headers: Headers | None = None

    def as_job(self) -> OpenAIJob:
        """Without a route, what is to be answered is a chat or, with a prompt, a completion."""
        body, headers = self.openai_input, self.openai_headers or {}
        if self.openai_route:
            return OpenAIJob(route=self.openai_route, body=body, headers=headers)
        bare = "prompt" in (body or {}) and "messages" not in (body or {})
        route = "/v1/completions" if bare else "/v1/chat/completions"
        return OpenAIJob(route=route, body=body, headers=headers, method="POST")


class Message(BaseModel):
    """One message of a chat; fields beyond these are for the model's chat template."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None


_NOT_FOR_TEMPLATES = (
    "chat_template", "tokenize", "tokenizer_kwargs", "return_dict", "return_tensors", "padding",
    "max_length", "truncation", "return_assistant_tokens_mask", "conversation", "tokenizer",
    "model_config", "tools",
)  # fmt: skip
"""What is for the tokenizer, which may pad a prompt to any length, or has a field of its own."""


def _check_template_kwargs(given: dict[str, Any]) -> dict[str, Any]:
    for name in _NOT_FOR_TEMPLATES:
        if name in given:
            raise PydanticCustomError("closed", "{name} cannot be set there", {"name": name})
    return given


class NativeJob(_Input):
    """A generation in RunPod's native form. Sizes of chunks are in tokens.

    `model` is one of the served names or an adapter; without it the model itself answers.
    `tools`, `chat_template_kwargs` and `add_generation_prompt` are for the chat template,
    `truncate_prompt_tokens` is the number of tokens of the prompt that are kept, -1 for as many as
    fit.
    """

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    apply_chat_template: bool = False
    sampling_params: dict[str, Any] = {}
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(_check_template_kwargs)] = {}
    add_generation_prompt: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    stream: bool = False
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    min_batch_size: Annotated[int, Field(ge=1)] | None = None
    batch_size_growth_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None

    @field_validator("messages", mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        """A text alone is what the user says."""
        return as_messages(value)

    @model_validator(mode="after")
    def _one_prompt(self) -> "NativeJob":
        if self.prompt is None and self.messages is None:
            raise PydanticCustomError("one_prompt", "Give prompt or messages; neither was given.")
        return self

    @property
    def chat(self) -> list[dict[str, Any]] | None:
        """The messages that go through the model's chat template, or None for a bare prompt."""
        if self.messages is not None:
            return [message.model_dump(exclude_unset=True) for message in self.messages]
        if self.apply_chat_template:
            return [{"role": "user", "content": self.prompt}]
        return None


Job = OpenAIJob | NativeJob


def as_messages(value: Any) -> Any:
    """A chat given as a plain text, as older workers take it, as a list of messages."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def parse_job(value: Any) -> Job:
    """The job in a RunPod job's `input`.

    Raises BadRequest, which names the first wrong field in `param` and all of them in its message.
    """
    if not isinstance(value, dict):
        raise BadRequest(f"input must be an object, not {json_type(value)}.", "input")
    check_transportable(value)
    form = _form(value)
    if form is NativeJob:
        value = as_fields(value, NativeJob.model_fields)
    try:
        parsed = form.model_validate(value)
    except ValidationError as error:
        raise bad_request(error, form) from None
    return parsed.as_job() if isinstance(parsed, GatewayInput) else parsed


def streams_natively(value: Any) -> bool:
    """Whether an input, right or wrong, asks for a stream in RunPod's native form."""
    return isinstance(value, dict) and value.get("stream") is True and _form(value) is NativeJob


def _form(value: dict[str, Any]) -> type[GatewayInput] | type[OpenAIJob] | type[NativeJob]:
    if value.get("openai_route") is not None or value.get("openai_input") is not None:
        return GatewayInput
    return OpenAIJob if {"route", "body", "method"} & value.keys() else NativeJob
