"""The configuration → the arguments of `vllm serve`, through vLLM's own parser."""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.platforms import current_platform
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.import_utils import import_from_path

from vllm_worker.configuration import Configuration
from vllm_worker.configuration.catalogue import Variable, not_offered, options, vllm_version
from vllm_worker.configuration.values import as_words
from vllm_worker.engine.patches.seams import find
from vllm_worker.engine.startup_errors import start_failure
from vllm_worker.errors import ConfigurationError

logger = logging.getLogger(__name__)


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        """argparse would print its usage and exit."""
        raise ValueError(message)


def parse_engine_args(configuration: Configuration) -> argparse.Namespace:
    """The arguments as `vllm serve` would have them.

    Raises ConfigurationError, which names every variable that vLLM's parser refuses.
    """
    parser = make_parser()
    problems = []
    given = [*_known(parser, configuration), *_unpictured(parser, configuration)]
    for source, option in given:
        try:
            parser.parse_args(option)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            problems.append(f"{source}: {_reason(error)}")
    if problems:
        raise ConfigurationError(problems)
    words = [word for _, option in given for word in option]
    try:
        arguments: argparse.Namespace = parser.parse_args(words)
        find("validate_parsed_serve_args")(arguments)
    except (ValueError, TypeError) as error:
        raise ConfigurationError([_reason(error)]) from None
    _load_plugins(arguments)
    return arguments


def avoid_slow_bfloat16(arguments: argparse.Namespace) -> None:
    """Have the model run in float32 on a CPU without AVX-512, unless DTYPE says otherwise.

    In bfloat16, several requests at once take many times as long there. A quantized model has a
    type of its own.
    """
    if arguments.dtype != "auto" or not current_platform.is_cpu() or _is_quantized(arguments):
        return
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        arguments.dtype = "float32"
        logger.info("DTYPE=float32: this CPU has no AVX-512, and is slow at bfloat16")


def _is_quantized(arguments: argparse.Namespace) -> bool:
    """As far as is known before vLLM looks at the model."""
    if arguments.quantization:
        return True
    try:
        config = json.loads(Path(arguments.model, "config.json").read_text())
    except (OSError, ValueError):
        return False
    return "quantization_config" in config


def describe_options() -> dict[str, Any]:
    """The content of configuration/options.json, from the installed vLLM's parser.

    Under `options`: name of each option → `type` as in `catalogue.Variable`, `default` as one would
    write it ("" for none), `choices` and `flag`, and of a JSON object with known `fields` their
    names and choices.
    """
    options = {action.dest: _describe(action) for action in make_parser()._actions}
    return {"vllm": vllm_version(), "options": options}


_FREE = ("VLLM_EXTRA_ARGS", "WORKER_CONFIG_FILE")
"""Sources of whole command lines: vLLM's parser says what of them it does not know."""


def _known(
    parser: argparse.ArgumentParser, configuration: Configuration
) -> Iterator[tuple[str, list[str]]]:
    """The options that the installed vLLM has; a note in the log for each other one."""
    flags = {flag for action in parser._actions for flag in action.option_strings}
    for source, option in configuration.options():
        flag = option[0].partition("=")[0] if option else ""
        if not flag or flag in flags or source in _FREE:
            yield source, option
        else:
            logger.warning("%s has no effect: vLLM %s has no %s", source, vllm_version(), flag)


def _unpictured(
    parser: argparse.ArgumentParser, configuration: Configuration
) -> Iterator[tuple[str, list[str]]]:
    """Options that the release in options.json does not have, by the names of their variables."""
    for action in parser._actions:
        name = action.dest.upper()
        text = configuration.others.get(name, "").strip()
        if text and action.dest not in options() and action.dest not in not_offered():
            kind, flag = _type_of(action), next(iter(action.option_strings), "")
            variable = Variable(name, kind, "", option=action.dest)
            yield f"{name}={text!r}", as_words(variable, text, flag)


def make_parser() -> argparse.ArgumentParser:
    """vLLM's own parser, but raising ValueError where that would exit. Raises StartFailure where
    there is nothing that vLLM could run on.
    """
    try:
        parser: argparse.ArgumentParser = find("make_arg_parser")(_Parser())
    except RuntimeError as error:
        raise start_failure("vLLM cannot run here", str(error)) from error
    return parser


def _load_plugins(arguments: argparse.Namespace) -> None:
    """Imports the files that bring parsers along, as `vllm serve` does.

    Raises ConfigurationError for a file that fails, or a parser that is none after that.
    """
    problems = []
    for kind, manager in (
        ("tool_parser", ToolParserManager),
        ("reasoning_parser", ReasoningParserManager),
    ):
        if file := getattr(arguments, f"{kind}_plugin"):
            try:
                import_from_path(Path(file).stem, file)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                problems.append(f"{kind.upper()}_PLUGIN={file!r}: cannot be imported: {reason}.")
        name = "tool_call_parser" if kind == "tool_parser" else kind
        parser, known = getattr(arguments, name), sorted(manager.list_registered())
        if parser and parser not in known and not problems:
            why = f"must be one of {', '.join(known)}, or be registered by a plugin"
            problems.append(f"{name.upper()}={parser!r}: {why}.")
    if problems:
        raise ConfigurationError(problems)


def _describe(action: argparse.Action) -> dict[str, Any]:
    known = _ON_ALL_PLATFORMS.get(action.dest) or action.choices or _names().get(action.dest, [])
    choices = [str(choice) for choice in known if choice is not None]
    flags = [flag for flag in action.option_strings if flag.startswith("--")]
    described = {
        "type": _type_of(action),
        "default": _default_of(action),
        "choices": choices,
        "flag": flags[0] if flags else "",
    }
    fields = _fields_of(action)
    return described | {"fields": fields} if fields else described


_ON_ALL_PLATFORMS = {"mm_processor_device": ["auto", "cpu", "cuda"]}
"""Choices that vLLM's parser has of the running platform only: options.json is that of all."""


def _names() -> dict[str, list[str]]:
    """Choices of options that vLLM's parser does not know the choices of."""
    return {
        "tool_call_parser": sorted(ToolParserManager.list_registered()),
        "reasoning_parser": sorted(ReasoningParserManager.list_registered()),
        "quantization": sorted(QUANTIZATION_METHODS),
    }


def _type_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "boolean"
    if action.nargs == "+":
        return "list"
    match _parser_of(action.type):
        case "int":
            return "integer"
        case "float":
            return "number"
        case "human_readable_int" | "human_readable_int_or_auto":
            return "size"
        case "loads" | "parse_dataclass" | "_parse_type" | "union_dict_and_str":
            return "JSON"
    return "text"


def _fields_of(action: argparse.Action) -> dict[str, list[str]]:
    """The fields of a JSON option that has no others, with the choices of those that have some."""
    parse = _reader_of(action.type)
    if getattr(parse, "__name__", "") != "parse_dataclass":
        return {}
    try:
        schema = TypeAdapter(parse.__defaults__[0]).json_schema()
    except PydanticInvalidForJsonSchema:
        return {}
    closed = schema.get("additionalProperties") is False
    return {name: _choices_in(field) for name, field in schema["properties"].items() if closed}


def _choices_in(field: dict[str, Any]) -> list[str]:
    """Those of a field that takes nothing else, except null."""
    parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    if not all("enum" in part for part in parts):
        return []
    choices = [choice for part in parts for choice in part["enum"]]
    return choices if all(isinstance(choice, str) for choice in choices) else []


def _parser_of(kind: Any) -> str:
    """The name of the function that reads a value."""
    kind = _reader_of(kind)
    return str(getattr(kind, "__name__", kind))


def _reader_of(kind: Any) -> Any:
    """The function that reads a value, which vLLM wraps where it may be None."""
    if getattr(kind, "__name__", "") == "_optional_type":
        (kind,) = (cell.cell_contents for cell in kind.__closure__)
    return kind


def _default_of(action: argparse.Action) -> str:
    match action.default:
        case bool() as value:
            return str(int(value))
        case int() | float() | str() as value if value != argparse.SUPPRESS:
            return str(getattr(value, "value", value))
        case list() as values:
            return " ".join(map(str, values))
    return ""


def _reason(error: Exception) -> str:
    """In one line: argparse's `argument --x: reason` without its first half, since the variable
    is named instead, and pydantic's errors without their links."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = " ".join(line for line in lines if not line.startswith("For further information"))
    return text.partition(": ")[2] if text.startswith("argument ") else text
