"""The configuration of a worker: read in one place, checked before anything heavy is imported."""

import shlex
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from vllm_worker.configuration.adapters import find_adapter_problems
from vllm_worker.configuration.cache_location import CacheLocation, cache_location
from vllm_worker.configuration.cached_model import cache_note, find_model, find_tokenizer
from vllm_worker.configuration.catalogue import Variable, catalogue, not_offered, words
from vllm_worker.configuration.checks import (
    command_line_problem,
    find_door_problems,
    find_misnamed,
    find_problems,
    find_unknown_choices,
)
from vllm_worker.configuration.derived import (
    count_gpus,
    derive,
    keep_a_slot_free,
    shared_memory_note,
)
from vllm_worker.configuration.migration import migrate
from vllm_worker.configuration.settings import (
    MEDIA_FIELDS,
    Settings,
    is_true,
    load_settings,
    names_in,
)
from vllm_worker.configuration.sources import (
    ENVIRONMENT,
    Sources,
    Value,
    read_sources,
    unquoted,
)
from vllm_worker.configuration.values import as_words
from vllm_worker.configuration.volume import inspect, volume_notes
from vllm_worker.errors import ConfigurationError

__all__ = ["Configuration", "Value", "load_configuration"]

_READ_BY_LIBRARIES = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME",
)  # fmt: skip

_UNKNOWN_GPU = (
    "Neither /proc/driver/nvidia nor nvidia-smi says what kind of GPU this is: what is compiled is "
    "not shared with other workers."
)
_SHORTEST_SECRET = 4
"""Characters. Of a shorter one, the lines would be full of stars."""


@dataclass(frozen=True)
class Configuration:
    """What a worker runs with. `notes` say what became of variables that are no more, and what is
    not as one may expect of the volume.

    `model` is what vLLM loads: a repository's name or a folder. `compile_cache` is None without a
    volume.

    `values` holds every variable that any source sets, by name; `library_env` has environment
    variables for the libraries below, which the caller sets where they are not set; `others` are
    variables of nobody here, which may be options that only the installed vLLM knows.
    """

    settings: Settings
    model: str
    values: Mapping[str, Value]
    notes: tuple[str, ...] = ()
    library_env: Mapping[str, str] = field(default_factory=dict)
    file_flags: tuple[str, ...] = ()
    compile_cache: CacheLocation | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> Iterator[tuple[str, list[str]]]:
        """The words of vLLM's command line by where they come from, the strongest last."""
        yield "MODEL_NAME", ["--model", self.model]
        yield "OPENAI_SERVED_MODEL_NAME_OVERRIDE", self._served_model_names()
        yield "OPENAI_RESPONSE_ROLE", [f"--response-role={self.settings.openai_response_role}"]
        if template := self.settings.custom_chat_template:
            yield "CUSTOM_CHAT_TEMPLATE", [f"--chat-template={template}"]
        if self.settings.door != "http" and (seconds := self.settings.keep_alive_s):
            yield "SSE_KEEP_ALIVE_INTERVAL", [f"--sse-keep-alive-interval={seconds}"]
        yield from self._given(strong=False)
        if self.file_flags:
            yield "WORKER_CONFIG_FILE", list(self.file_flags)
        yield from self._given(strong=True)
        if extra := self.settings.vllm_extra_args:
            yield "VLLM_EXTRA_ARGS", shlex.split(extra)

    def export(self, environ: MutableMapping[str, str]) -> None:
        """Put into the environment of this process what the libraries below read there.

        What is set there already stays, but for a token or a folder that was quoted or stands for
        none, and a switch that vLLM would misread.
        """
        _clean(environ)
        for name, value in self.library_env.items():
            environ.setdefault(name, value)
        if self.settings.vllm_allow_runtime_lora_updating:
            environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"  # vLLM knows no "yes" or "on"

    def _served_model_names(self) -> list[str]:
        return ["--served-model-name", *self.settings.served_model_names]

    def _given(self, strong: bool) -> Iterator[tuple[str, list[str]]]:
        for name, value in self.values.items():
            variable = catalogue().get(name)
            if variable and variable.option and (value.origin == ENVIRONMENT) == strong:
                yield f"{name}={value.text!r}", as_words(variable, value.text)


def _clean(environ: MutableMapping[str, str]) -> None:
    """Take the quotes off what libraries read there, and away what stands for none."""
    for name in _READ_BY_LIBRARIES:
        text = unquoted(environ.get(name, ""))
        if text.lower() in ("", "none", "null"):
            environ.pop(name, None)
        else:
            environ[name] = text


def load_configuration(environ: Mapping[str, str]) -> Configuration:
    """The configuration in these environment variables and the files that they name.

    Raises ConfigurationError, which names all problems. No value of a secret is in any of them.
    """
    environ = dict(environ)
    _clean(environ)
    gpus = count_gpus(environ)
    sources = read_sources(environ, gpus)
    misnamed = list(find_misnamed(environ, sources.values))
    notes = migrate(sources, gpus) + _not_offered(environ) + misnamed + sources.notes
    notes += find_unknown_choices(sources.values)
    secrets = _secrets(sources, environ)
    notes = [_without(secrets, line) for line in notes]
    problems = sources.problems + find_problems(sources.values)
    if sources.flags and (wrong := command_line_problem(sources.flags)):
        problems.append(f"WORKER_CONFIG_FILE: extra_flags: {wrong}.")
    settings = None
    try:
        _trust_media_fields(sources)
        texts = {name: value.text for name, value in sources.values.items()}
        settings = load_settings(texts)
    except ConfigurationError as error:
        problems = error.problems + problems
    problems += find_adapter_problems(sources, settings.served_model_names if settings else ())
    problems += find_door_problems(settings) if settings else ()
    if problems or settings is None:
        raise ConfigurationError([_without(secrets, line) for line in problems + misnamed])
    return _derived(environ, settings, sources, gpus, notes)


def _derived(
    environ: Mapping[str, str], settings: Settings, sources: Sources, gpus: int, notes: list[str]
) -> Configuration:
    """The configuration with what follows from the machine and the volume."""
    derived = derive(settings, sources, gpus)
    volume = inspect(settings.base_path)
    model = find_model(settings, sources, environ, volume)
    find_tokenizer(sources, environ, volume)
    notes = [
        *notes,
        *keep_a_slot_free(sources, gpus),
        *shared_memory_note(sources),
        *volume_notes(settings, volume, model),
        *cache_note(settings, sources, model),
    ]
    cache = None
    if volume.there:
        keep = volume.writable and (volume.mounted or not settings.on_runpod)
        cache = cache_location(environ, volume.folder, keep, settings.model_name, gpus)
        if cache is None and settings.on_runpod:  # elsewhere one may only ask about a GPU
            notes.append(_UNKNOWN_GPU)
    return Configuration(
        settings,
        model,
        sources.values,
        tuple(notes),
        derived | volume.library_env | (cache.library_env if cache else {}) | sources.library_env,
        tuple(sources.flags),
        cache,
        sources.others,
    )


def _trust_media_fields(sources: Sources) -> None:
    """Keep vLLM's TRUST_REQUEST_MM_KWARGS and the worker's TRUST_REQUEST_FIELDS in step."""
    opened = sources.values.get("TRUST_REQUEST_MM_KWARGS")
    fields = sources.values.get("TRUST_REQUEST_FIELDS", Value("", ENVIRONMENT))
    try:
        names_in(fields.text)
    except ValueError:
        return  # said by the settings
    if opened and is_true(opened.text):
        text = ",".join([*names_in(fields.text), *sorted(MEDIA_FIELDS)])
        sources.values["TRUST_REQUEST_FIELDS"] = Value(text, opened.origin)
    elif any(name in fields.text for name in MEDIA_FIELDS):
        sources.values["TRUST_REQUEST_MM_KWARGS"] = Value("1", "TRUST_REQUEST_FIELDS")


def _not_offered(environ: Mapping[str, str]) -> list[str]:
    """A line for each variable that has the name of an option which only `vllm serve` has."""
    names = {option.upper(): why for option, why in not_offered().items()}
    ours = catalogue().keys() | words()["aliases"].keys()
    # These may well be somebody else's.
    general = {"CONFIG", "HELP", "HF_TOKEN"}
    return [
        f"{name} has no effect: {why}."
        for name, why in names.items()
        if environ.get(name, "").strip() and name not in ours | general
    ]


def _secrets(sources: Sources, environ: Mapping[str, str]) -> set[str]:
    """The values of secrets, by any of their names, as they are and as `repr` writes them."""
    aliases = {alias for alias, name in words()["aliases"].items() if _is_secret(catalogue()[name])}
    names = aliases | {name for name, variable in catalogue().items() if variable.secret}
    values = {environ.get(name, "").strip() for name in names}
    values |= {sources.values[name].text for name in names if name in sources.values}
    values = {value for value in values if len(value) >= _SHORTEST_SECRET}
    return values | {repr(value)[1:-1] for value in values}


def _without(secrets: set[str], line: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "***")
    return line


def _is_secret(variable: Variable | None) -> bool:
    return variable is not None and variable.secret
