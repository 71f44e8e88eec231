"""The worker's own settings, read once from the environment.

variables.toml next to this file describes them; the fields here have their types and defaults.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.errors import ConfigurationError
from vllm_worker.streaming.flow_control import FlowGrade
from vllm_worker.streaming.schedule import Schedule

DEMO_MODEL = "demo"
"""The MODEL_NAME of the model that comes with this package."""

SMALL_MODEL = "smollm2"
"""The MODEL_NAME of SmolLM2-135M-Instruct, which the worker makes from a package."""

_DEMO_MODEL_FOLDER = Path(__file__).parents[1] / "demo_model"

MEDIA_FIELDS = {"media_io_kwargs", "mm_processor_kwargs"}
"""Arguments of the media processor in a request, which vLLM itself closes only from 0.31 on."""

CLOSED_FIELDS = {"kv_transfer_params", "ec_transfer_params", "vllm_xargs", *MEDIA_FIELDS}
"""Fields of a request that name other machines or are for code that no request should steer."""

DOORS = ("queue", "http", "local")
"""Values of WORKER_MODE, and what `auto` is one of."""

Size = Annotated[int, Field(ge=1, le=1_000_000)]


class Settings(BaseModel):
    """Each field is an environment variable, in upper case."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=str.upper)

    model_name: str = DEMO_MODEL
    base_path: str = "/runpod-volume"
    hf_token: SecretStr | None = None
    vllm_extra_args: str | None = None
    vllm_config_file: str | None = None
    worker_config_file: str | None = None
    max_concurrency: Annotated[int | None, Field(ge=1, le=1_000_000)] = 300
    """None is what the engine can run at once."""
    default_batch_size: Size = 50
    default_min_batch_size: Size = 1
    default_batch_size_growth_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3
    stream_max_delay_ms: Annotated[int, Field(ge=0)] = 500
    default_max_tokens: Size = 16
    audio_max_bytes: Annotated[int, Field(ge=1, le=2**40)] = 25 * 1024**2
    audio_fetch_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30
    max_output_bytes: Annotated[int, Field(ge=1, le=2**40)] = 20_000_000
    shutdown_grace_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30
    structured_output_max_bytes: Size = Limits().size
    structured_output_max_repeats: Size = Limits().repeats
    structured_output_unenforced: str = "refuse"
    engine_stall_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300
    trust_request_fields: str = ""
    raw_openai_output: bool = True
    allow_media_urls: bool = True
    flow_control: str = "auto"
    openai_served_model_name_override: str | None = None
    openai_response_role: str = "assistant"
    custom_chat_template: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    runpod_webhook_get_job: str | None = None
    runpod_endpoint_id: str | None = None
    runpod_pod_id: str | None = None
    worker_mode: str = "auto"
    api_key: SecretStr | None = None
    api_keys_file: str | None = None
    allow_no_key: bool = False
    local_endpoint_id: str | None = None
    allowed_origins: str = ""
    allowed_methods: str = "*"
    allowed_headers: str = "*"
    allow_credentials: bool = False
    health_check_path: Annotated[str, Field(pattern=r"^/\S*$")] = "/ping"
    port_health: Annotated[int | None, Field(ge=0, le=65535)] = None
    max_body_bytes: Annotated[int, Field(ge=1)] = 30 * 1024**2
    sse_keep_alive_interval: Annotated[int | None, Field(ge=0)] = None
    vllm_allow_runtime_lora_updating: bool = False

    @field_validator("max_concurrency", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.strip().lower() == "auto":
            return None
        try:
            float(value)
        except ValueError:
            raise ValueError("must be a number of jobs, or auto") from None
        return value

    @field_validator(
        "raw_openai_output",
        "allow_media_urls",
        "vllm_allow_runtime_lora_updating",
        "allow_no_key",
        "allow_credentials",
        mode="before",
    )
    @classmethod
    def _boolean(cls, value: Any) -> bool:
        return parse_boolean(value) if isinstance(value, str) else value

    @field_validator("openai_served_model_name_override")
    @classmethod
    def _at_least_one(cls, value: str | None) -> str | None:
        if value is not None and not names_in(value):
            raise ValueError("must be one or more comma-separated names")
        return value

    @field_validator("flow_control")
    @classmethod
    def _grade(cls, value: str) -> str:
        if value not in (grades := ["auto", *FlowGrade]):
            raise ValueError(f"must be one of {', '.join(grades)}")
        return value

    @field_validator("worker_mode")
    @classmethod
    def _door(cls, value: str) -> str:
        if value.lower() not in (modes := ["auto", *DOORS]):
            raise ValueError(f"must be one of {', '.join(modes)}")
        return value.lower()

    @field_validator("structured_output_unenforced")
    @classmethod
    def _refuse_or_allow(cls, value: str) -> str:
        if value.lower() not in ("refuse", "allow"):
            raise ValueError("must be one of refuse, allow")
        return value.lower()

    @field_validator("local_endpoint_id")
    @classmethod
    def _one_segment(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"[\w-]+", value, re.ASCII):
            raise ValueError("must be letters, digits, hyphens and underscores")
        return value

    @field_validator("allowed_origins", "allowed_methods", "allowed_headers", "api_key")
    @classmethod
    def _names(cls, value: Any) -> Any:
        names_in(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    @field_validator("trust_request_fields")
    @classmethod
    def _closed_fields(cls, value: str) -> str:
        if set(names_in(value)) - CLOSED_FIELDS:
            raise ValueError(f"must be some of {', '.join(sorted(CLOSED_FIELDS))}, comma-separated")
        return value

    @property
    def trusted_request_fields(self) -> list[str]:
        """Which of CLOSED_FIELDS a request may have."""
        return names_in(self.trust_request_fields)

    @property
    def model(self) -> str:
        """The model that vLLM loads: a repository's name or a folder."""
        return str(_DEMO_MODEL_FOLDER) if self.model_name == DEMO_MODEL else self.model_name

    @property
    def served_model_names(self) -> list[str]:
        """Names under which clients can address the model; answers carry the first."""
        if self.openai_served_model_name_override is None:
            return [self.model_name]
        return names_in(self.openai_served_model_name_override)

    @property
    def schedule(self) -> Schedule:
        """The sizes of a stream's chunks, unless the job says otherwise."""
        return Schedule(
            self.default_min_batch_size,
            self.default_batch_size,
            self.default_batch_size_growth_factor,
        )

    @property
    def structured_output_limits(self) -> Limits:
        """Limits on the schema, regular expression or grammar of a request."""
        return Limits(
            self.structured_output_max_bytes,
            self.structured_output_max_repeats,
            allow_unenforced=self.structured_output_unenforced == "allow",
        )

    @property
    def max_delay(self) -> float:
        """Seconds that a token may wait for its chunk; 0 means no limit."""
        return self.stream_max_delay_ms / 1000

    @property
    def on_runpod(self) -> bool:
        """Whether RunPod has started this worker."""
        platform = (self.runpod_webhook_get_job, self.runpod_endpoint_id, self.runpod_pod_id)
        return any(value is not None for value in platform)

    @property
    def door(self) -> str:
        """Where requests come in: RunPod's queue, HTTP, or a local endpoint with a queue."""
        if self.worker_mode != "auto":
            return self.worker_mode
        if self.runpod_webhook_get_job is not None:
            return "queue"
        return "http" if self.on_runpod else "local"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the HTTP door or the local endpoint.

        RunPod's load balancer and its proxy for Pods ask on port 80 if there is no other.
        """
        given, outside = self.model_fields_set, self.door == "http" and self.on_runpod
        host = "0.0.0.0" if outside and "host" not in given else self.host
        return host, 80 if outside and "port" not in given else self.port

    @property
    def keep_alive_s(self) -> int:
        """Seconds of silence after which a stream gets a comment; 0: never."""
        default = 15 if self.door == "http" else 0
        return default if self.sse_keep_alive_interval is None else self.sse_keep_alive_interval

    @property
    def api_keys(self) -> list[str]:
        """The keys in API_KEY."""
        return names_in(self.api_key.get_secret_value() if self.api_key else "")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in these environment variables; an empty one counts as not set.

    Raises ConfigurationError, which names every variable that is wrong.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError([_explain(detail) for detail in error.errors()]) from None
    if settings.on_runpod and "MODEL_NAME" not in given:
        raise ConfigurationError(
            [
                "MODEL_NAME is not set: it must name a Hugging Face repository or a folder, "
                f'or "{DEMO_MODEL}" for the small model that comes with the worker.'
            ]
        )
    return settings


def names_in(text: str) -> list[str]:
    """Names between commas, or a JSON list, which is what a list in a YAML file becomes."""
    try:
        names = json.loads(text) if text.startswith("[") else text.split(",")
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    stripped = (str(name).strip() for name in names)
    return list(dict.fromkeys(name for name in stripped if name))


def is_true(value: str) -> bool:
    """Whether a text means true; everything else does not, also what is no boolean at all."""
    return value.strip().lower() in ("1", "true", "yes", "on")


def parse_boolean(value: str) -> bool:
    """0 or 1, true or false, yes or no, on or off, in any case. Raises ValueError for others."""
    if is_true(value):
        return True
    if value.strip().lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be 0, 1, true or false")


def _explain(detail: Any) -> str:
    name, value = detail["loc"][0], detail["input"]
    allowed = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{name}={value!r}: {allowed}."
