"""The gateway's file: providers, models, keys and the cache.

    providers:
      cold: {endpoint: abc123, key: RUNPOD_API_KEY, wait: 20}
      pod: {url: "http://10.0.0.4:8000/v1"}
    models:
      default/llama:
        - {provider: cold, model: meta-llama/Llama-3.1-8B-Instruct}
        - {provider: pod, model: llama, order: 2}
    keys:
      alice: {key: ALICE_KEY, workspaces: [default], requests_per_minute: 60}
    cache: {kind: memory}

docs/gateway.md describes the fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from vllm_worker.errors import ConfigurationError, nearest
from vllm_worker.gateway import lines
from vllm_worker.gateway.names import ENTITY, PART, would_do

_RUNPOD = "https://api.runpod.ai/v2"
_LOAD_BALANCED = "https://{}.api.runpod.ai/v1"

Name = Annotated[str, StringConstraints(pattern=PART)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
EndpointId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provider(_Form):
    """Where models are. One of `endpoint` (RunPod's queue), `load_balancer` (RunPod's HTTP) and
    `url` (anything that speaks OpenAI's API); `key` names an environment variable.
    """

    endpoint: EndpointId | None = None
    load_balancer: EndpointId | None = None
    url: HttpUrl | None = None
    api: HttpUrl = HttpUrl(_RUNPOD)
    """Where RunPod's API is, for an endpoint: a local endpoint has the same."""
    key: Variable | None = None
    wait: Seconds = 300
    """Seconds until the first byte of an answer. After them the next provider is asked."""
    discover: Name | None = None
    """A workspace that gets all models of the provider's list."""
    price: Annotated[float, Field(ge=0)] = 0
    """US dollars per second of a GPU."""

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        given = [self.endpoint, self.load_balancer, self.url]
        if sum(place is not None for place in given) != 1:
            message = "needs one of endpoint, load_balancer and url"
            raise PydanticCustomError("place", message)
        return self

    @property
    def is_queue(self) -> bool:
        return self.endpoint is not None

    @property
    def base_url(self) -> str:
        """The base URL of OpenAI's API, without a slash at its end."""
        if self.endpoint:
            return f"{str(self.api).rstrip('/')}/{self.endpoint}/openai/v1"
        if self.load_balancer:
            return _LOAD_BALANCED.format(self.load_balancer)
        return str(self.url).rstrip("/")


class Target(_Form):
    """A provider that has a model, and the model's name there. Of those with the lowest `order`
    that can be reached one is drawn by `weight`.
    """

    provider: Name
    model: Annotated[str, StringConstraints(min_length=1)]
    weight: Annotated[int, Field(ge=1)] = 1
    order: Annotated[int, Field(ge=1)] = 1


class Key(_Form):
    """Who may ask: the key's environment variable or its SHA-256 in hexadecimal."""

    key: Variable | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    workspaces: list[Name] | None = None
    """None is all of them."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _is_a_key(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise PydanticCustomError("key", "needs either key or sha256")
        return self


class Cache(_Form):
    """Answers that are given again. Without a `ttl` here only to requests that ask for it."""

    kind: Literal["off", "memory", "disk", "redis"] = "off"
    ttl: Annotated[float, Field(gt=0)] | None = None
    folder: Path | None = None
    url: Variable | None = None
    shared: bool = False
    """Whether one key sees the answers that another has had."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Self:
        for kind, field in (("disk", "folder"), ("redis", "url")):
            if (self.kind == kind) != (getattr(self, field) is not None):
                message = f"{field} goes with kind: {kind}, and is needed there"
                raise PydanticCustomError("cache", message)
        return self


class GatewayFile(_Form):
    """All of it."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 4000
    providers: Annotated[dict[Name, Provider], Field(min_length=1)]
    models: dict[Annotated[str, StringConstraints(pattern=ENTITY)], list[Target]] = {}
    keys: dict[Annotated[str, StringConstraints(pattern=r"^[\w.@-]{1,64}$")], Key] = {}
    cache: Cache = Cache()

    @property
    def is_open(self) -> bool:
        """Whether it listens where others can reach it."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


@dataclass(frozen=True)
class _Problem:
    path: lines.Path
    text: str

    @property
    def field(self) -> str:
        shown = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return shown.removeprefix(".")


def load(path: Path, environ: Mapping[str, str]) -> GatewayFile:
    """Raises ConfigurationError with a line for each mistake: `FILE:LINE: field: what is wrong`."""
    try:
        content, where = lines.read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigurationError([f"{path}: {reason}"]) from None
    except lines.NotYAML as error:
        raise ConfigurationError([f"{path}:{error.line}: {error}"]) from None
    problems = [_Problem(twice, "is there twice") for twice in where.repeated]
    file = None
    try:
        file = GatewayFile.model_validate(content)
    except ValidationError as error:
        problems += map(_explained, error.errors(include_url=False))
    problems += _dangling(content) + (_unset(file, environ) if file else [])
    if problems or not file:
        found = sorted(problems, key=lambda problem: where.of(problem.path))
        raise ConfigurationError(
            [f"{path}:{where.of(one.path)}: {one.field}: {one.text}" for one in found]
        )
    return file


def _explained(detail: ErrorDetails) -> _Problem:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    match detail["type"]:
        case "extra_forbidden":
            return _Problem(path, f"is not a field here{_meant(path)}")
        case "missing":
            return _Problem(path, "is missing")
        case "string_pattern_mismatch":
            return _Problem(path, _form(path, str(detail["input"])))
        case "too_short":
            return _Problem(path, "must not be empty")
        case "literal_error":
            return _Problem(path, f"must be {detail['ctx']['expected']}")
        case "place" | "key" | "cache":
            return _Problem(path, detail["msg"])
        case _:
            allowed = detail["msg"].removeprefix("Input should be ")
            return _Problem(path, f"should be {allowed[0].lower()}{allowed[1:]}")


_FORMS: dict[str, type[BaseModel]] = {
    "": GatewayFile, "providers": Provider, "models": Target, "keys": Key, "cache": Cache,
}  # fmt: skip


def _meant(path: lines.Path) -> str:
    inside = str(path[0]) if len(path) > 1 else ""
    known = list(_FORMS[inside].model_fields)
    return nearest(str(path[-1]), known) or f". Fields here: {', '.join(known)}"


def _form(path: lines.Path, text: str) -> str:
    """What a text should look like."""
    match path:
        case ("models", _):
            return (
                "an entity is workspace/name, of lower-case letters, digits and hyphens, 2 to 63 "
                f"characters each; {would_do(text)} would do"
            )
        case ("keys", _, "sha256"):
            return "should be the 64 hexadecimal digits of a SHA-256"
        case (*_, "key") | ("cache", "url"):
            return "should be the name of an environment variable"
        case (*_, "endpoint" | "load_balancer"):
            return "should be the id of an endpoint: letters, digits, hyphens, underscores"
        case ("keys", _):
            return "a key's name is of letters, digits, and . @ - _, at most 64"
        case _:
            return "a name is of lower-case letters, digits and hyphens, 2 to 63 characters"


def _dangling(content: Mapping[str, Any]) -> list[_Problem]:
    """Targets whose provider is not in the file, models without one, and keys of none."""
    providers, models = content.get("providers"), content.get("models")
    if not isinstance(providers, dict) or not isinstance(models, dict | None):
        return []
    problems = []
    for entity, targets in (models or {}).items():
        if targets == []:
            problems.append(_Problem(("models", str(entity)), "must not be empty"))
        for place, target in enumerate(targets if isinstance(targets, list) else []):
            name = target.get("provider") if isinstance(target, dict) else None
            if isinstance(name, str) and re.match(PART, name) and name not in providers:
                known = ", ".join(map(str, providers))
                text = f"there is no provider {name}; there are {known}"
                problems.append(_Problem(("models", str(entity), place, "provider"), text))
    if (
        providers
        and not models
        and not any("discover" in p for p in providers.values() if isinstance(p, dict))
    ):
        problems.append(_Problem(("models",), "is empty, and no provider has discover"))
    return problems


def _unset(file: GatewayFile, environ: Mapping[str, str]) -> list[_Problem]:
    """Environment variables that are named and not set, and doors that nobody has locked."""
    named: list[tuple[lines.Path, str | None]] = [
        *((("providers", name, "key"), one.key) for name, one in file.providers.items()),
        *((("keys", name, "key"), one.key) for name, one in file.keys.items()),
        (("cache", "url"), file.cache.url),
    ]
    problems = [
        _Problem(path, f"the environment variable {name} is not set")
        for path, name in named
        if name and not environ.get(name)
    ]
    if file.is_open and not file.keys:
        problems.append(_Problem(("keys",), f"are needed where others can reach {file.host}"))
    return problems
