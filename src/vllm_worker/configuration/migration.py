"""What the variables and values of older workers and of RunPod's forms mean here.

Each step changes the sources and yields a note for what is not as it was written.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from vllm_worker.configuration.catalogue import (
    catalogue,
    not_offered,
    option_of,
    vllm_folder,
    words,
)
from vllm_worker.configuration.settings import is_true, parse_boolean
from vllm_worker.configuration.sources import ENVIRONMENT, Sources, Value
from vllm_worker.configuration.values import is_file

_SPECULATION: dict[str, tuple[str, Callable[[str], Any]]] = {
    "SPECULATIVE_MODEL": ("model", str),
    "SPECULATIVE_METHOD": ("method", str),
    "NUM_SPECULATIVE_TOKENS": ("num_speculative_tokens", int),
    "NGRAM_PROMPT_LOOKUP_MAX": ("prompt_lookup_max", int),
    "NGRAM_PROMPT_LOOKUP_MIN": ("prompt_lookup_min", int),
    "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": ("draft_tensor_parallel_size", int),
    "SPECULATIVE_MAX_MODEL_LEN": ("max_model_len", int),
    "SPECULATIVE_MODEL_REVISION": ("revision", str),
    "SPECULATIVE_QUANTIZATION": ("quantization", str),
    "SPECULATIVE_ENFORCE_EAGER": ("enforce_eager", is_true),
}
"""Older variable → key of SPECULATIVE_CONFIG, and how its value is read."""

_TASKS: dict[str, dict[str, str]] = {
    "auto": {},
    "generate": {"RUNNER": "generate"},
    "transcription": {"RUNNER": "generate"},
    "embed": {"RUNNER": "pooling", "CONVERT": "embed"},
    "embedding": {"RUNNER": "pooling", "CONVERT": "embed"},
    "classify": {"RUNNER": "pooling", "CONVERT": "classify"},
    "score": {"RUNNER": "pooling", "CONVERT": "classify"},
    "reward": {"RUNNER": "pooling"},
}
"""Values of vLLM's former option `task` → what vLLM made of them when it was replaced."""

_UNSET = ("", "none", "null", "auto")
_PAIRS = re.compile(r"\w+=[0-9]{1,9}(\s*,\s*\w+=[0-9]{1,9})*")
_LIFTED = {
    "--served-model-name": "OPENAI_SERVED_MODEL_NAME_OVERRIDE",
    "--chat-template": "CUSTOM_CHAT_TEMPLATE",
    "--response-role": "OPENAI_RESPONSE_ROLE",
}
"""Options that the worker itself has to know → their variables."""
_CPU_BLOCK = 32
"""The CPU build's attention takes multiples of this block size."""


def migrate(sources: Sources, gpus: int) -> list[str]:
    """Read what older workers and forms write as what it means. Returns the notes."""
    return [
        *_retired(sources),
        *_retired_values(sources),
        *_log_requests(sources),
        *_task(sources),
        *_speculation(sources),
        *_media_limits(sources),
        *_other_case(sources),
        *_services(sources),
        *_no_adapters(sources),
        *_cpu_block_size(sources, gpus),
        *_command_lines(sources),
        *_named_template(sources),
    ]


def _named_template(sources: Sources) -> Iterator[str]:
    """One of vLLM's own chat templates by its name, such as chatml."""
    value = sources.values.get("CUSTOM_CHAT_TEMPLATE")
    if value and re.fullmatch(r"[\w-]+(\.jinja)?", value.text) and not is_file(value.text):
        name = value.text.lower().removeprefix("template_").removesuffix(".jinja")
        path = vllm_folder() / f"transformers_utils/chat_templates/template_{name}.jinja"
        if path.is_file():
            sources.values["CUSTOM_CHAT_TEMPLATE"] = Value(str(path), value.origin)
            yield f"CUSTOM_CHAT_TEMPLATE={value.text} is read as vLLM's template of that name."


def _retired(sources: Sources) -> Iterator[str]:
    for name, note in words()["retired"].items():
        if value := sources.values.pop(name, None):
            yield f"{name}={value.text} has no effect: {note}."


def _retired_values(sources: Sources) -> Iterator[str]:
    for assignment, note in words()["retired_values"].items():
        name, _, text = assignment.partition("=")
        if (value := sources.values.get(name)) and value.text == text:
            del sources.values[name]
            yield f"{assignment} has no effect: {note}."


def _log_requests(sources: Sources) -> Iterator[str]:
    for name in ("DISABLE_LOG_REQUESTS", "DISABLE_LOGGING_REQUEST"):
        value = sources.values.pop(name, None)
        if value and value.text.lower() not in _UNSET:
            try:
                log = "0" if parse_boolean(value.text) else "1"
            except ValueError as error:
                sources.problems.append(f"{name}={value.text!r}: {error}.")
                continue
            if "ENABLE_LOG_REQUESTS" in sources.values:
                yield f"{name} has no effect: ENABLE_LOG_REQUESTS is set."
                continue
            sources.add({"ENABLE_LOG_REQUESTS": log}, name)
            yield f"{name} is read as ENABLE_LOG_REQUESTS={log}."


def _task(sources: Sources) -> Iterator[str]:
    """A variable of this name with another value is somebody else's."""
    value = sources.values.pop("TASK", None)
    if value and (meant := _TASKS.get(value.text.lower())):
        given = [name for name in ("RUNNER", "CONVERT") if name in sources.values]
        if chosen := [name for name in given if sources.values[name].text != "auto"]:
            yield f"TASK={value.text} has no effect: {chosen[0]} is set."
            return
        for name in given:
            del sources.values[name]
        sources.add(meant, "TASK")
        read = " and ".join(f"{name}={text}" for name, text in meant.items())
        yield f"TASK={value.text} is read as {read}."


def _speculation(sources: Sources) -> Iterator[str]:
    given = {name: value for name in _SPECULATION if (value := sources.values.pop(name, None))}
    meant = {}
    for name, value in given.items():
        key, read = _SPECULATION[name]
        if value.text.lower() in (*_UNSET, "0", "false"):
            continue
        try:
            meant[key] = read(value.text)
        except ValueError:
            sources.problems.append(f"{name}={value.text!r}: must be an integer.")
    if not meant:
        return
    names = ", ".join(given)
    if meant.get("model") == "[ngram]":
        del meant["model"]
        meant["method"] = "ngram"
    if "SPECULATIVE_CONFIG" in sources.values:
        yield f"{names}{_have(given)} no effect: SPECULATIVE_CONFIG is set."
    elif not meant.keys() & {"model", "method"}:
        yield f"{names}{_have(given)} no effect without SPECULATIVE_MODEL or SPECULATIVE_METHOD."
    else:
        text = json.dumps(meant)
        sources.add({"SPECULATIVE_CONFIG": text}, names)
        yield f"{names}: read as SPECULATIVE_CONFIG={text}."


def _media_limits(sources: Sources) -> Iterator[str]:
    value = sources.values.get("LIMIT_MM_PER_PROMPT")
    if value and _PAIRS.fullmatch(value.text):
        pairs = (pair.split("=") for pair in value.text.replace(" ", "").split(","))
        text = json.dumps({kind: int(most) for kind, most in pairs})
        sources.values["LIMIT_MM_PER_PROMPT"] = Value(text, value.origin)
        yield f"LIMIT_MM_PER_PROMPT={value.text} is read as {text}."


def _other_case(sources: Sources) -> Iterator[str]:
    """A choice may be written in any case. A level that is none is another program's."""
    for name, value in list(sources.values.items()):
        variable = catalogue().get(name)
        if not variable or not variable.choices or value.text in variable.choices:
            continue
        lower = {choice.lower(): choice for choice in variable.choices}
        if name == "LOG_LEVEL":
            lower |= {"warn": "WARNING", "fatal": "CRITICAL", "trace": "DEBUG"}
        if choice := lower.get(value.text.lower()):
            sources.values[name] = Value(choice, value.origin)
        elif name == "LOG_LEVEL":
            del sources.values[name]
            known = ", ".join(variable.choices)
            yield f"LOG_LEVEL={value.text} has no effect: the levels are {known}."


def _services(sources: Sources) -> Iterator[str]:
    """Kubernetes sets METRICS_PORT=tcp://… where there is a service named metrics."""
    for name in ("PORT", "METRICS_PORT", "MASTER_PORT"):
        if (value := sources.values.get(name)) and value.text.startswith("tcp://"):
            del sources.values[name]
            yield f"{name}={value.text} has no effect: it is the address of a service."


def _no_adapters(sources: Sources) -> Iterator[str]:
    modules, enable = sources.values.get("LORA_MODULES"), sources.values.get("ENABLE_LORA")
    later = sources.values.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    if later and is_true(later.text) and enable and not is_true(enable.text):
        yield f"VLLM_ALLOW_RUNTIME_LORA_UPDATING has no effect: ENABLE_LORA is {enable.text}."
    if not modules:
        return
    if modules.text.replace(" ", "") in ("[]", "{}"):
        del sources.values["LORA_MODULES"]
    elif enable and enable.text and not is_true(enable.text):
        del sources.values["LORA_MODULES"]
        yield f"LORA_MODULES has no effect: ENABLE_LORA is {enable.text}."


def _cpu_block_size(sources: Sources, gpus: int) -> Iterator[str]:
    value = sources.values.get("BLOCK_SIZE")
    if gpus or not value or not re.fullmatch("[0-9]{1,6}", value.text):
        return  # what is no size is said elsewhere
    size = int(value.text)
    if size % _CPU_BLOCK == 0:
        return
    nearest = max(round(size / _CPU_BLOCK), 1) * _CPU_BLOCK
    sources.values["BLOCK_SIZE"] = Value(str(nearest), value.origin)
    why = f"without a GPU, vLLM needs a multiple of {_CPU_BLOCK}"
    yield f"BLOCK_SIZE={value.text} is read as {nearest}: {why}."


def _command_lines(sources: Sources) -> Iterator[str]:
    """Take from command lines what the worker itself has to know, and what has no effect."""
    if extra := sources.values.get("VLLM_EXTRA_ARGS"):
        try:
            given = shlex.split(extra.text)
        except ValueError:
            return  # checks.py says so
        rest, notes = _without_own(sources, given, "VLLM_EXTRA_ARGS")
        sources.values["VLLM_EXTRA_ARGS"] = Value(shlex.join(rest), extra.origin)
        yield from notes
    sources.flags, notes = _without_own(sources, sources.flags, "WORKER_CONFIG_FILE")
    yield from notes


def _without_own(sources: Sources, given: list[str], origin: str) -> tuple[list[str], list[str]]:
    """The words that are left for vLLM's parser, and the notes."""
    rest, notes = [], []
    for group in _by_option(given):
        flag, equals, first = group[0].partition("=")
        flag = flag.replace("_", "-")
        values = [first, *group[1:]] if equals else group[1:]
        why = not_offered().get(option_of(flag), "")
        if flag in _LIFTED and values:
            _set(sources, _LIFTED[flag], ",".join(values), origin)
        elif why in words()["harmless"]:
            notes.append(f"{origin}: {flag} has no effect: {why}.")
        else:
            rest += group
    return rest, notes


def _set(sources: Sources, name: str, text: str, origin: str) -> None:
    """VLLM_EXTRA_ARGS wins over the environment, which wins over files."""
    old = sources.values.get(name)
    if origin == "VLLM_EXTRA_ARGS" or not old or old.origin != ENVIRONMENT:
        sources.values[name] = Value(text, origin)


def _by_option(given: list[str]) -> Iterator[list[str]]:
    """The words of a command line, each option with its values."""
    group: list[str] = []
    for word in given:
        if re.match(r"--?[A-Za-z]", word) and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _have(names: dict[str, Value]) -> str:
    return " has" if len(names) == 1 else " have"
