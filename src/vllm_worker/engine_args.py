"""Environment variables → the arguments of `vllm serve`, through vLLM's own parser.

An option `--max-model-len` is set by MAX_MODEL_LEN. The worker's own settings give the model, its
served name and the like. What only an HTTP server needs is left out: the worker runs none.
"""

import argparse
from collections.abc import Iterator, Mapping
from typing import NoReturn

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from vllm_worker.errors import ConfigurationError
from vllm_worker.settings import DEMO_MODEL, Settings, parse_boolean

_NOT_OFFERED = {
    # an HTTP server's
    "host", "port", "uds", "root_path", "middleware", "api_key", "headless", "grpc", "grpc_port",
    "uvicorn_log_level", "disable_uvicorn_access_log", "disable_access_log_for_endpoints",
    "allow_credentials", "allowed_origins", "allowed_methods", "allowed_headers",
    "ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "enable_ssl_refresh", "ssl_cert_reqs",
    "ssl_ciphers", "h11_max_incomplete_event_size", "h11_max_header_count",
    "api_server_count", "disable_fastapi_docs", "enable_offline_docs",
    # the worker's own settings give these
    "model", "model_tag", "served_model_name", "chat_template", "response_role",
    # not options of the engine; huggingface_hub finds HF_TOKEN by itself
    "config", "help", "hf_token",
}  # fmt: skip

_DEMO_OPTIONS = ["--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
"""What suits the embedded model: compiling would take longer than it ever saves."""

_OTHER_NAMES = {"TOKENIZER_NAME": "tokenizer", "MODEL_REVISION": "revision"}
"""The seed worker's names of options that vLLM calls otherwise."""


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        """argparse would print its usage and exit."""
        raise ValueError(message)


def parse_engine_args(settings: Settings, environ: Mapping[str, str]) -> argparse.Namespace:
    """The arguments as `vllm serve` would have them.

    Raises ConfigurationError, which names every variable that vLLM's parser refuses.
    """
    parser = make_arg_parser(_Parser())
    words, mistakes = _from_settings(settings), list[str]()
    for name, value, action in _given_options(parser, environ):
        try:
            option = _as_words(action, value)
            parser.parse_args(option)
            words += option
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            mistakes.append(f"{name}={value!r}: {_reason(error)}")
    if mistakes:
        raise ConfigurationError(mistakes)
    try:
        arguments: argparse.Namespace = parser.parse_args(words)
        validate_parsed_serve_args(arguments)
    except (ValueError, TypeError) as error:
        raise ConfigurationError([_reason(error)]) from None
    return arguments


def _from_settings(settings: Settings) -> list[str]:
    words = ["--model", settings.model, "--served-model-name", settings.served_model_name]
    words += ["--response-role", settings.openai_response_role]
    if settings.model_name == DEMO_MODEL:
        words += _DEMO_OPTIONS
    if settings.custom_chat_template:
        words += ["--chat-template", settings.custom_chat_template]
    return words


def _given_options(
    parser: argparse.ArgumentParser, environ: Mapping[str, str]
) -> Iterator[tuple[str, str, argparse.Action]]:
    """Variable, value and option for each option that the environment sets."""
    options = {action.dest: action for action in parser._actions if action.option_strings}
    offered = {dest.upper(): dest for dest in options if dest not in _NOT_OFFERED}
    for name, dest in sorted((offered | _OTHER_NAMES).items()):
        if value := environ.get(name, "").strip():
            yield name, value, options[dest]


def _as_words(action: argparse.Action, value: str) -> list[str]:
    """An option as the words of a command line."""
    flag = max(action.option_strings, key=lambda option: option.startswith("--"))
    if isinstance(action, argparse.BooleanOptionalAction):
        return [flag if parse_boolean(value) else flag.replace("--", "--no-", 1)]
    if action.nargs == 0:
        return [flag] if parse_boolean(value) else []
    if action.nargs == "+" and not value.startswith(("[", "{")):
        return [flag, *value.replace(",", " ").split()]
    # One word, so that a value may start with a dash.
    return [f"{flag}={value}"]


def _reason(error: Exception) -> str:
    """argparse's `argument --x: reason` without its first half: the variable is named instead."""
    text = str(error)
    return text.partition(": ")[2] if text.startswith("argument ") else text
