"""Problems in a configuration that can be found without vLLM."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

import jinja2

from vllm_worker.configuration.catalogue import (
    catalogue,
    is_installed,
    is_pictured,
    not_offered,
    option_of,
    picture,
    vllm_folder,
    vllm_version,
    words,
)
from vllm_worker.configuration.settings import Settings, is_true
from vllm_worker.configuration.sources import Value
from vllm_worker.configuration.values import is_file, is_folder, items, problem
from vllm_worker.errors import nearest

Values = Mapping[str, Value]

_OPEN = {"QUANTIZATION"}
"""Options whose choices a plugin of vLLM adds to, which are asked when the engine is built."""
_REPOSITORY = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?(:[\w-]+)?", re.ASCII)
"""With the kind of quantization behind it, as GGUF's plugin reads it."""
_OBJECT_STORE = re.compile(r"(?!https?:)[a-z0-9]+://")
_GGUF = re.compile(r"(?i).+(\.gguf|-gguf|:[\w-]+)")
"""A file, a repository, or one with the kind of quantization behind it."""
_GGUF_PLUGIN = "vllm-gguf-plugin"
_OF_VLLM = {"VLLM_DCP_Q_REPLICATE"}
"""Variables that vLLM itself reads, and which have the name of one of its options."""
_PLUGINS = {
    "TOOL_CALL_PARSER": "TOOL_PARSER_PLUGIN",
    "REASONING_PARSER": "REASONING_PARSER_PLUGIN",
}


def find_problems(values: Values) -> list[str]:
    """A line for each value of vLLM's options, file and conflict that cannot be right."""
    lines = []
    for name, value in values.items():
        variable = catalogue().get(name)
        if _PLUGINS.get(name) in values or name in _OPEN:
            continue  # a plugin brings names of its own
        if variable and variable.option and (wrong := problem(variable, value.text, is_pictured())):
            lines.append(_line(name, value, wrong))
    for name, check in _CHECKS.items():
        if name in values and (wrong := check(values[name].text)):
            lines.append(_line(name, values[name], wrong))
    return lines + [line for conflict in _CONFLICTS if (line := conflict(values))]


def find_unknown_choices(values: Values) -> Iterator[str]:
    """A note for each choice that is there only if a plugin brings it."""
    for name in sorted(_OPEN & values.keys()):
        choices, text = catalogue()[name].choices, values[name].text
        if is_pictured() and text not in choices:
            yield (
                f"{name}={text!r} is none of vLLM's own, and works only where a plugin brings it."
                + nearest(text, choices)
            )


def find_misnamed(environ: Mapping[str, str], values: Values) -> Iterator[str]:
    """A note for each variable that was probably meant as one of ours, which no source sets.

    That is one with a slip in one word, one in small letters, and the name of another server. It
    may be another program's: of names that only look alike, such as GH_TOKEN, nothing is said.
    """
    aliases = words()["aliases"].keys()
    known = [*catalogue(), *aliases]  # a variable's own name before another for it
    others = words()["retired"].keys() | words()["translated"].keys()
    for name in sorted(environ.keys() - set(known) - others):
        if near := next((candidate for candidate in known if _is_slip(name, candidate)), None):
            yield f"{name} has no effect: the worker has no such variable. Did you mean {near}?"
        elif (meant := _meant(name)) and meant not in values and environ[name].strip():
            yield f"{name} has no effect: the worker reads {meant}."


def _meant(name: str) -> str:
    """The variable that is called `name` elsewhere; "" if none is."""
    if name in words()["elsewhere"]:
        return str(words()["elsewhere"][name])
    if name.upper() in catalogue():
        return name.upper()
    option = catalogue().get(name.removeprefix("VLLM_"))
    return option.name if option and option.option and name not in _OF_VLLM else ""


def _is_slip(name: str, known: str) -> bool:
    """Whether one longer word is different by a letter or two neighbours, or an underscore is."""
    words, right = name.split("_"), known.split("_")
    if len(words) == 1:
        return False
    if name.replace("_", "") == known.replace("_", ""):
        return True
    if len(words) != len(right):
        return False
    different = [pair for pair in zip(words, right, strict=True) if pair[0] != pair[1]]
    if len(different) != 1 or not _is_typo(*different[0]):
        return False
    word, meant = different[0]
    return min(len(word), len(meant)) > 3 or 2 < len(word) < len(meant)


def _is_typo(word: str, right: str) -> bool:
    """Whether a letter is missing, added or wrong, or two neighbours are the wrong way around."""
    longer, shorter = sorted((word, right), key=len, reverse=True)
    same = (left == other for left, other in zip(word, right, strict=False))
    head = next((i for i, equal in enumerate(same) if not equal), len(shorter))
    if len(longer) > len(shorter):
        return longer[head + 1 :] == shorter[head:]
    swapped = word[:head] + word[head : head + 2][::-1] + word[head + 2 :]
    return swapped == right or word[head + 1 :] == right[head + 1 :]


def _line(name: str, value: Value, wrong: str) -> str:
    if name == "VLLM_EXTRA_ARGS":
        return f"{name}: {wrong}."  # without its words, some of which may be secret
    where = "" if value.origin == "environment" else f" ({value.origin})"
    return f"{name}={value.text!r}{where}: {wrong}."


def _chat_template(text: str) -> str | None:
    if "{" not in text:
        named = f", nor one of vLLM's: {names}" if (names := _templates()) else ""
        return None if is_file(text) else f"is neither a Jinja template nor a file{named}"
    try:
        # As transformers reads templates; `generation` is a tag of its own.
        jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except jinja2.TemplateSyntaxError as error:
        if "'generation'" not in str(error):
            return f"is not a Jinja template: {error.message} (line {error.lineno})"
    except (ValueError, RecursionError):
        return "is not a Jinja template"
    return None


def _templates() -> str:
    """The names of the chat templates that come with vLLM."""
    files = (vllm_folder() / "transformers_utils/chat_templates").glob("template_*.jinja")
    return ", ".join(sorted(path.stem.removeprefix("template_") for path in files))


def _file(text: str) -> str | None:
    return None if is_file(text) else "is not a file"


def _command_line(text: str) -> str | None:
    try:
        return command_line_problem(shlex.split(text))
    except ValueError as error:
        return str(error)


def command_line_problem(given: Sequence[str]) -> str | None:
    """The first word of a command line that vLLM's parser would not take, by what is known here."""
    for word in given:
        flag = word.partition("=")[0].replace("_", "-")
        name = option_of(flag)
        if name in not_offered():
            return f"{flag} cannot be set: {not_offered()[name]}"
        if flag.startswith("--") and not name and "." not in flag and is_pictured():
            return f"vLLM {picture()['vllm']} has no option {flag}"
    return None


def _model(text: str) -> str | None:
    if _GGUF.fullmatch(text) and vllm_version() and not is_installed(_GGUF_PLUGIN):
        return (
            f"vLLM loads GGUF only with {_GGUF_PLUGIN}, which is not installed; name the "
            "repository that it was made from, or one in AWQ, GPTQ or FP8"
        )
    if is_folder(text) or _OBJECT_STORE.match(text):
        return None
    if text.startswith(("/", "./", "../", "~")):
        return "is not a folder"
    named = _REPOSITORY.fullmatch(text)
    return None if named else "is neither a folder nor the name of a repository, such as org/model"


def _share(text: str) -> str | None:
    try:
        return None if 0 < float(text) <= 1 else "must be above 0 and at most 1"
    except ValueError:
        return None  # said already: not a number


def _domains(text: str) -> str | None:
    try:
        names = items(text)
    except (ValueError, RecursionError):
        return None  # said already: not a list
    wrong = [n for n in names if not isinstance(n, str) or any(sign in n for sign in "/:*")]
    return f"must name hosts, such as example.com, not {wrong[0]!r}" if wrong else None


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "CUSTOM_CHAT_TEMPLATE": _chat_template,
    "TOOL_PARSER_PLUGIN": _file,
    "REASONING_PARSER_PLUGIN": _file,
    "ALLOWED_MEDIA_DOMAINS": _domains,
    "GPU_MEMORY_UTILIZATION": _share,
    "VLLM_EXTRA_ARGS": _command_line,
    "MODEL_NAME": _model,
}


def _sizes_that_cannot_grow(values: Values) -> str | None:
    names = ("DEFAULT_MIN_BATCH_SIZE", "DEFAULT_BATCH_SIZE", "DEFAULT_BATCH_SIZE_GROWTH_FACTOR")
    texts = [values[n].text if n in values else catalogue()[n].default for n in names]
    try:
        smallest, largest, growth = int(texts[0]), int(texts[1]), float(texts[2])
    except ValueError:
        return None
    if smallest > largest:
        return f"DEFAULT_MIN_BATCH_SIZE={smallest} is above DEFAULT_BATCH_SIZE={largest}."
    if growth == 1 and smallest < largest:
        return (
            f"DEFAULT_BATCH_SIZE_GROWTH_FACTOR=1: chunks of {smallest} would never grow to "
            f"DEFAULT_BATCH_SIZE={largest}. Set both sizes alike, or a larger factor."
        )
    return None


def _tools_without_parser(values: Values) -> str | None:
    auto = values.get("ENABLE_AUTO_TOOL_CHOICE")
    if auto and is_true(auto.text) and "TOOL_CALL_PARSER" not in values:
        return "ENABLE_AUTO_TOOL_CHOICE needs TOOL_CALL_PARSER, such as hermes or llama3_json."
    return None


def find_door_problems(settings: Settings) -> Iterator[str]:
    """A line where requests could not come in, or could from anybody."""
    if settings.door == "queue":
        if settings.runpod_webhook_get_job is None:
            yield "WORKER_MODE=queue needs RUNPOD_WEBHOOK_GET_JOB, which is not set."
        return
    host, port = settings.address
    for name, other in (("PORT", port), ("PORT_HEALTH", settings.port_health)):
        if other and settings.metrics_port == other:
            yield f"METRICS_PORT={other} is also {name}, on which requests come in. Set another."
    keys = settings.api_keys or settings.api_keys_file or settings.allow_no_key
    if not keys and host not in ("localhost", "::1") and not host.startswith("127."):
        yield (
            f"HOST={host} can be reached by others: set API_KEY or API_KEYS_FILE. ALLOW_NO_KEY=1 "
            "lets everybody in, for RunPod's load balancer, which checks RunPod's keys itself."
        )


_CONFLICTS = (_sizes_that_cannot_grow, _tools_without_parser)
