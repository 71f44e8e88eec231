"""What `vllm-worker doctor` looks at first when an endpoint does not work, one thing after the
other. A check that returns is good; one that raises Noted or ClientError is noted or bad.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vllm_worker.client.endpoint import is_runpod
from vllm_worker.client.errors import ClientError, ExitCode, errors_explained
from vllm_worker.client.openai_api import chat_answer, chat_chunks, posted, served_models
from vllm_worker.client.queue import Queue, output_of

if TYPE_CHECKING:
    import openai

_WORD = {
    "type": "object",
    "properties": {"word": {"type": "string", "maxLength": 10}},
    "required": ["word"],
}
_TOOL = {"type": "function", "function": {"name": "say", "parameters": _WORD}}
_TOKENS = 100


class Verdict(StrEnum):
    """How a check came out. `SKIPPED` says that something before it makes it pointless."""

    GOOD = "good"
    NOTED = "noted"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass
class Finding:
    """One check: what was looked at, how it is, and how long that took (0 for no request)."""

    check: str
    verdict: Verdict
    text: str
    seconds: float = 0.0


class Noted(Exception):
    """What is not as it could be, and yet no fault."""


@dataclass
class Checkup:
    """The checks of one endpoint. `model` is the one that is wanted, if one is."""

    client: "openai.OpenAI"
    queue: Queue
    model: str | None = None
    _served: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> Iterator[Finding]:
        """Each finding as it is made. Jobs are not tried when nobody could do them."""
        for name, check in self._before_jobs().items():
            finding = self._timed(name, check)
            yield finding
            if finding.verdict is Verdict.BAD:
                yield Finding("jobs", Verdict.SKIPPED, "not tried")
                return
        for name, job in self._jobs().items():
            finding = self._timed(name, job)
            yield finding
            if name == "native job" and finding.verdict is Verdict.NOTED:
                yield self._timed("embedding", self.embedding)
                return

    def _before_jobs(self) -> dict[str, Callable[[], str]]:
        """Those without which the following ones make no sense."""
        return {
            "endpoint": self.reachable,
            "workers": self.workers,
            "models": self.models,
            "model": self.wanted,
        }

    def _jobs(self) -> dict[str, Callable[[], str]]:
        return {
            "vLLM": self.version,
            "native job": self.native,
            "chat": self.chat,
            "stream": self.stream,
            "tool call": self.tool_call,
            "JSON schema": self.schema,
        }

    def reachable(self) -> str:
        """Whether anybody answers, and accepts the key."""
        endpoint = self.queue.endpoint
        key = "with a key" if endpoint.key else "without a key"
        if is_runpod(endpoint.url) and not endpoint.key:
            raise ClientError("RunPod asks for a key: set RUNPOD_API_KEY", ExitCode.KEY_REFUSED)
        try:
            self.queue.health()
        except ClientError as error:
            # Others than ours may not have it; whether they take the key is seen with the models.
            if error.exit_code is not ExitCode.FAILED:
                raise
        return f"{endpoint.url} answers, {key}"

    def workers(self) -> str:
        """Whether anybody does the work."""
        try:
            health = self.queue.health()
        except ClientError as error:
            raise Noted(f"not known here: {error}") from error
        if "workers" not in health:  # a worker's own door
            return str(health.get("status", "ready"))
        counts = {name: number for name, number in health["workers"].items() if number}
        jobs = health.get("jobs", {})
        waiting = f"; {jobs['inQueue']} jobs wait" if jobs.get("inQueue") else ""
        if counts:
            return ", ".join(f"{number} {name}" for name, number in counts.items()) + waiting
        if is_runpod(self.queue.endpoint.url):
            raise Noted(f"none is up, so that the first request waits for one to start{waiting}")
        message = "no worker takes jobs: it is still starting or has ended, as its log says"
        raise ClientError(message + waiting)

    def models(self) -> str:
        """What is served, and how long its context is."""
        self._served = served_models(self.client)
        if not self._served:
            raise ClientError("the endpoint lists no model")
        context = self._served[0].get("max_model_len")
        names = ", ".join(str(model["id"]) for model in self._served)
        return f"{names} ({context} tokens of context)" if context else names

    def wanted(self) -> str:
        """Whether the model that requests name is there."""
        names = [str(model["id"]) for model in self._served]
        self.model = self.model or names[0]
        if self.model not in names:
            message = f"{self.model} is not served here; requests have to name {names[0]}"
            raise ClientError(message)
        return f"{self.model} is served"

    def version(self) -> str:
        """vLLM's version."""
        return str(self.queue.call_route("/version")["version"])

    def native(self) -> str:
        """A job in RunPod's own form, which not every model can do."""
        job = {"prompt": "Hello", "sampling_params": {"max_tokens": 5}}
        try:
            output = output_of(self.queue.run_sync(job))
        except ClientError as error:
            if "does not generate text" in str(error):
                raise Noted(f"{self.model} does not generate text: no chat is tried") from error
            raise
        return _usage(output)

    def embedding(self) -> str:
        """What a model may be there for that does not generate text."""
        body = {"model": self.model, "input": "Hello"}
        try:
            answer = posted(self.client, "/embeddings", body)
        except Exception as error:
            if getattr(error, "status_code", None) == 404:
                raise Noted(f"{self.model} does not embed texts either") from error
            raise
        return f"{len(answer['data'][0]['embedding'])} numbers"

    def chat(self) -> str:
        """One answer, whole."""
        answer = chat_answer(self.client, self._body("Say hello."))
        return _usage(answer)

    def stream(self) -> str:
        """One answer in chunks."""
        started, first, number = time.monotonic(), 0.0, 0
        for chunk in chat_chunks(self.client, self._body("Say hello.")):
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = first or time.monotonic() - started
                number += 1
        if not number:
            raise ClientError("the stream brought no text")
        return f"{number} chunks, the first after {first:.2f} s"

    def tool_call(self) -> str:
        """Whether the model may call functions: needs a parser for what it writes."""
        body = self._body("Call the function say.") | {"tools": [_TOOL], "tool_choice": "auto"}
        try:
            answer = chat_answer(self.client, body)
        except Exception as error:
            if "tool-call-parser" in str(error) or "tool choice" in str(error):
                message = "no tool parser: set ENABLE_AUTO_TOOL_CHOICE=1 and TOOL_CALL_PARSER"
                raise ClientError(message) from error
            raise
        if answer["choices"][0]["message"].get("tool_calls"):
            return "the model called the function"
        return "tools are accepted; the model answered with text"

    def schema(self) -> str:
        """Whether an answer follows a JSON schema."""
        asked = {"type": "json_schema", "json_schema": {"name": "word", "schema": _WORD}}
        answer = chat_answer(self.client, self._body("One word.") | {"response_format": asked})
        choice = answer["choices"][0]
        try:
            return f"{json.loads(choice['message']['content'])}"
        except (TypeError, ValueError):
            ended = choice.get("finish_reason")
            raise ClientError(f"the answer is not JSON (finish_reason {ended})") from None

    def _timed(self, name: str, check: Callable[[], str]) -> Finding:
        started = time.monotonic()
        try:
            with errors_explained(self.queue.endpoint.url):
                text, verdict = check(), Verdict.GOOD
        except Noted as note:
            text, verdict = str(note), Verdict.NOTED
        except ClientError as error:
            text, verdict = str(error), Verdict.BAD
        return Finding(name, verdict, text, time.monotonic() - started)

    def _body(self, text: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return {
            "model": self.model,
            "messages": messages,
            "max_tokens": _TOKENS,
            "temperature": 0,
        }


def _usage(answer: Any) -> str:
    usage = answer.get("usage") or {}
    tokens = usage.get("output", usage.get("completion_tokens"))
    return f"{tokens} tokens" if tokens is not None else "an answer"
