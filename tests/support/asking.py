"""One question, put to the worker in each of its forms."""

import json
from dataclasses import dataclass
from typing import Any

from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.worker import Worker

QUESTION = "What is RunPod?"
CHAT, COMPLETIONS, NATIVE = "/v1/chat/completions", "/v1/completions", "native"
_FIELDS = {"prompt", "messages", "apply_chat_template", "sampling_params", "stream", "model",
           "tools", "chat_template_kwargs", "add_generation_prompt", "truncate_prompt_tokens",
           "max_batch_size", "min_batch_size", "batch_size_growth_factor"}  # fmt: skip


class Refused(Exception):
    """The job failed with `error`, in OpenAI's fields."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Asked:
    """The outputs of a job, whatever its form."""

    form: str
    outputs: list[Any]
    tokenizer: Any

    @property
    def texts(self) -> list[str]:
        if isinstance(self.outputs[0], str):
            return ["".join(_event_texts("".join(self.outputs)))]
        choices = [output["choices"] for output in self.outputs]
        return ["".join(map(text_of, chunks)) for chunks in zip(*choices, strict=True)]

    @property
    def text(self) -> str:
        (text,) = self.texts
        return text

    @property
    def tokens(self) -> int:
        """Tokens generated, over all choices."""
        usage = self.outputs[-1]["usage"]
        return usage["output"] if "output" in usage else usage["completion_tokens"]

    @property
    def input_tokens(self) -> int:
        usage = self.outputs[-1]["usage"]
        return usage["input"] if "input" in usage else usage["prompt_tokens"]

    @property
    def finish_reason(self) -> str:
        (choice,) = self.outputs[-1]["choices"]
        return choice["finish_reason"]

    def tokenize(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


async def ask(engine: VLLMEngine, form: str, question: str = QUESTION, **parameters: Any) -> Asked:
    """Asks the question unless there is another `prompt` or `messages`; None leaves a field out.

    Raises Refused.
    """
    if form == CHAT:
        parameters = {"model": "demo", "messages": question} | parameters
    elif form == COMPLETIONS:
        parameters = {"model": "demo", "prompt": question} | parameters
    else:
        parameters = {"prompt": question} | parameters
    given = {name: value for name, value in parameters.items() if value is not None}
    job: dict[str, Any]
    if form == NATIVE:
        job = {name: given.pop(name) for name in _FIELDS & given.keys()}
        job["sampling_params"] = job.get("sampling_params", {}) | given
    else:
        job = {"openai_route": form, "openai_input": given}
    outputs = await run(engine, job)
    return Asked(form, outputs, engine._llm.renderer.get_tokenizer())


async def run(engine: VLLMEngine, job: dict[str, Any]) -> list[Any]:
    """The outputs of a job. Raises Refused."""
    worker = Worker(load_settings({"STREAM_MAX_DELAY_MS": "0"}), engine)
    outputs = [output async for output in worker.handle({"id": "job", "input": job})]
    if isinstance(outputs[-1], dict) and "error" in outputs[-1]:
        raise Refused(json.loads(outputs[-1]["error"]))
    return outputs


def text_of(choice: dict[str, Any]) -> str:
    """The text of a choice, of whatever form."""
    if "tokens" in choice:
        return "".join(choice["tokens"])
    return choice["message"]["content"] if "message" in choice else choice["text"]


def _event_texts(events: str) -> list[str]:
    texts = []
    for event in events.split("\n\n"):
        data = event.removeprefix("data: ")
        if data and data != "[DONE]":
            (choice,) = json.loads(data)["choices"]
            texts.append(
                choice["delta"].get("content") or "" if "delta" in choice else choice["text"]
            )
    return texts
