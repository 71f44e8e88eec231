"""Writes what is shown in several places from its one source: the worker's variables from their
description, the versions of vLLM and CUDA from what is pinned, and figures from the last results.

    .venv/bin/python -m builder.generate [--check]

With `--check` nothing is written, and the exit code is 1 when a file is not as it would be written.
"""

import argparse
import json
import logging
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import cold_start_report, gateway_report, report
from builder import doc_parts, migration_table, schema_table, set_up, version_table
from builder.doc_parts import cuda_version
from vllm_worker.configuration.catalogue import (
    Variable,
    catalogue,
    not_offered,
    picture,
    vllm_version,
    words,
)
from vllm_worker.configuration.show import meaning

ROOT = Path(__file__).resolve().parent.parent
VLLM_VERSION = set_up.pinned("cuda")
CPU_VLLM_VERSION = set_up.pinned("cpu")
# What a README's reader needs first; docs/configuration.md has all.
README_VARIABLES = [
    "MODEL_NAME", "MAX_MODEL_LEN", "HF_TOKEN", "QUANTIZATION", "GPU_MEMORY_UTILIZATION",
    "TENSOR_PARALLEL_SIZE", "CUSTOM_CHAT_TEMPLATE", "ENABLE_AUTO_TOOL_CHOICE", "TOOL_CALL_PARSER",
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE", "RAW_OPENAI_OUTPUT", "MAX_CONCURRENCY",
    "DEFAULT_BATCH_SIZE", "DEFAULT_MIN_BATCH_SIZE", "DEFAULT_BATCH_SIZE_GROWTH_FACTOR",
    "STREAM_MAX_DELAY_MS", "BASE_PATH", "VLLM_EXTRA_ARGS", "HOST", "PORT",
]  # fmt: skip
OPTIONS = "src/vllm_worker/configuration/options.json"
LOCAL_ONLY = {"HOST", "PORT", "LOCAL_ENDPOINT_ID"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes generated files and tables.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    check = parser.parse_args().check
    stale = [path for path, make in FILES.items() if not _is_current(ROOT / path, make, check)]
    if check and stale:
        print(f"not as `make generate` writes them: {', '.join(stale)}")
    return 1 if check and stale else 0


def _is_current(path: Path, make: Callable[[], str], check: bool) -> bool:
    text = make()
    if path.exists() and path.read_text() == text:
        return True
    if not check:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
        # Later files are made from this one.
        for cached in (picture, catalogue, not_offered):
            cached.cache_clear()
    return False


def vllm_options() -> str:
    """The picture of vLLM's parser. Of another vLLM than the CPU build's it would be another: then
    the file stays as it is.
    """
    if vllm_version() != CPU_VLLM_VERSION:
        return (ROOT / OPTIONS).read_text()
    logging.disable()
    from vllm_worker.engine.args import describe_options

    return _json(describe_options())


def dockerfile() -> str:
    """The Dockerfile with the pinned versions as what its arguments are by default."""
    text = (ROOT / "Dockerfile").read_text()
    before, stage, after = text.partition(" AS cpu-packages\n")
    argument = r"^(ARG VLLM_VERSION=).*$"
    before = _with_value(argument, VLLM_VERSION, before)
    return before + stage + _with_value(argument, CPU_VLLM_VERSION, after)


def project_version() -> str:
    """That of the worker, which is written in pyproject.toml."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def bake() -> str:
    """docker-bake.hcl, likewise."""
    text = (ROOT / "docker-bake.hcl").read_text()
    gpu, cpu = f'"{VLLM_VERSION}"', f'"{CPU_VLLM_VERSION}"'
    defaults = {
        "VERSION": f'"{project_version()}"',
        "VLLM_VERSION": gpu,
        "CPU_VLLM_VERSION": f"VLLM_VERSION == {gpu} ? {cpu} : VLLM_VERSION",
    }
    for name, value in defaults.items():
        text = _with_value(rf'^(variable "{name}" {{\n  default = ).*$', value, text)
    return text


def _with_value(pattern: str, value: str, text: str) -> str:
    """The text with the rest of the one line that the pattern's group begins replaced."""
    text, count = re.subn(pattern, lambda found: found[1] + value, text, flags=re.M)
    assert count == 1, f"{pattern} is there {count} times"
    return text


def hub_tests() -> str:
    """RunPod's tests.json: what is written there by hand, on the CUDA of the image."""
    path = ROOT / ".runpod" / "tests.json"
    version = json.dumps([cuda_version()])
    return _with_value(r'^(    "allowedCudaVersions": ).*$', version, path.read_text())


def versions() -> str:
    """docs/versions.md: its text is written by hand, its table is not."""
    path = ROOT / "docs" / "versions.md"
    text = _between(path.read_text(), version_table.table(version_table.load()))
    return _between(text, _pins(), "pins")


def _pins() -> str:
    rows = {
        f"GPU image, and `make set-up` with an NVIDIA GPU; CUDA {cuda_version()}": VLLM_VERSION,
        "CPU image, and `make set-up` without one": CPU_VLLM_VERSION,
    }
    lines = [f"| {where} | {version} |" for where, version in rows.items()]
    return "\n".join(["| where | vLLM |", "|---|---|", *lines]) + "\n"


def worker_config() -> str:
    """The form of RunPod's console for this worker."""
    form = {
        "versions": {
            VLLM_VERSION: {
                "imageName": f"vllm-worker:{project_version()}-vllm{VLLM_VERSION}",
                "minimumCudaVersion": cuda_version(),
                "categories": [
                    {"title": title, "settings": [variable.name for variable in variables]}
                    for title, variables in _deployed()
                ],
            }
        },
        "schema": {v.name: _form_field(v) for _, variables in _deployed() for v in variables},
    }
    return _json(form)


def _form_field(variable: Variable) -> dict[str, Any]:
    kinds = {"boolean": "toggle", "integer": "number", "number": "number"}
    field: dict[str, Any] = {
        "env_var_name": variable.name,
        "value": _form_value(variable),
        "title": _title(variable),
        "description": variable.description,
        "required": variable.required,
        "type": "select" if _options(variable) else kinds.get(variable.type, "text"),
    }
    if options := _options(variable):
        field["options"] = [{"value": value, "label": label} for value, label in options.items()]
    return field


def _options(variable: Variable) -> dict[str, str]:
    """Values and labels of what has a choice; a boolean without a default has three."""
    unset = {} if variable.default else {"": "vLLM's default"}
    if variable.type == "boolean":
        return unset | {"1": "on", "0": "off"} if unset else {}
    return unset | {choice: choice for choice in variable.choices} if variable.choices else {}


def _form_value(variable: Variable) -> str | int | float | bool:
    if variable.required:
        return ""
    match variable.type:
        case "boolean" if variable.default:
            return variable.default == "1"
        case "integer" if variable.default:
            return int(variable.default)
        case "number" if variable.default:
            return float(variable.default)
    return variable.default


def hub() -> str:
    """RunPod's hub.json: what is written there by hand, with its list of variables made anew."""
    listing = json.loads((ROOT / ".runpod" / "hub.json").read_text())
    listing["config"]["allowedCudaVersions"] = [cuda_version()]
    listing["config"]["env"] = [
        {"key": v.name, "input": _hub_input(v)} for _, variables in _deployed() for v in variables
    ]
    return _json(listing)


def hub_of_load_balancer() -> str:
    """hub.json for a listing whose endpoints are load-balancing: a listing has one type."""
    listing = json.loads(hub())
    listing["title"] += " (load balancer)"
    config = listing["config"]
    listing["config"] = {"endpointType": "LB", **config}
    (key,) = (entry for entry in config["env"] if entry["key"] == "ALLOW_NO_KEY")
    key["input"]["default"] = True  # RunPod's load balancer checks RunPod's keys
    return _json(listing)


def _hub_input(variable: Variable) -> dict[str, Any]:
    kinds = {"boolean": "boolean", "integer": "number", "number": "number"}
    entry: dict[str, Any] = {
        "name": _title(variable),
        "type": "huggingface" if variable.required else kinds.get(variable.type, "string"),
        "description": variable.description,
        "required": variable.required,
        "advanced": variable.name not in README_VARIABLES,
    }
    default = _form_value(variable)
    if default != "":
        entry["default"] = default
    if variable.type == "boolean":
        entry |= {"trueValue": "1", "falseValue": "0"}
    if variable.choices:
        choices = _options(variable)
        entry["options"] = [{"label": label, "value": value} for value, label in choices.items()]
    return entry


def reference() -> str:
    """docs/configuration.md: its text is written by hand, its tables are not."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    tables = []
    for title, variables in _by_category():
        tables += [f"### {title}\n", *_rows(variables)]
    rest = [variable for variable in catalogue().values() if not variable.category]
    tables += ["### Other options of vLLM\n", *_rest_rows(rest)]
    tables += ["### Not offered\n", "| option | because |", "|---|---|"]
    tables += [f"| `{option}` | {reason} |" for option, reason in sorted(not_offered().items())]
    tables += ["", "### Read as another\n", "| variable | read as |", "|---|---|"]
    others = words()["aliases"] | words()["translated"]
    tables += [f"| `{name}` | {meant} |" for name, meant in others.items()]
    tables += ["", "### Names of other servers\n", "| variable | the worker reads |", "|---|---|"]
    tables += [f"| `{name}` | `{meant}` |" for name, meant in words()["elsewhere"].items()]
    tables += ["", "### Gone\n", "| variable | what became of it |", "|---|---|"]
    gone = words()["retired"] | words()["retired_values"]
    tables += [f"| `{name}` | {note} |" for name, note in gone.items()]
    return _between(text, "\n".join(tables) + "\n")


def readme() -> str:
    """The README's short table, and with which vLLM the worker was tried."""
    variables = [catalogue()[name] for name in README_VARIABLES]
    text = _between((ROOT / "README.md").read_text(), "\n".join(_rows(variables)))
    text = _between(text, doc_parts.pins(), "pins")
    text = _between(text, doc_parts.figures(report.load(), cold_start_report.load()), "figures")
    return _between(text, version_table.summary(version_table.load()), "versions")


def seams() -> str:
    """docs/seams.md: its text is written by hand, its table is not."""
    return _between((ROOT / "docs" / "seams.md").read_text(), doc_parts.seams())


def structured_outputs() -> str:
    """docs/structured-outputs.md, likewise."""
    text = (ROOT / "docs" / "structured-outputs.md").read_text()
    return _between(text, schema_table.table())


def migration() -> str:
    """docs/migration.md: its text is written by hand, its table is not."""
    return _between((ROOT / "docs" / "migration.md").read_text(), migration_table.table())


def upstream() -> str:
    """docs/upstream.md, likewise."""
    return _between((ROOT / "docs" / "upstream.md").read_text(), doc_parts.replaced())


def performance() -> str:
    """docs/performance.md: its text is written by hand, its figures are not."""
    text = (ROOT / "docs" / "performance.md").read_text()
    return _between(text, report.summary(report.load()))


def gateway() -> str:
    """docs/gateway.md, likewise."""
    text = (ROOT / "docs" / "gateway.md").read_text()
    return _between(text, gateway_report.summary(gateway_report.load()))


def cold_start() -> str:
    """docs/cold-start.md, likewise."""
    text = (ROOT / "docs" / "cold-start.md").read_text()
    return _between(text, cold_start_report.summary(cold_start_report.load()))


def _between(text: str, generated: str, mark: str = "generated") -> str:
    """The text with what stands between its two marks replaced."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"there is no {begin.strip()} with its end"
    return f"{before}{begin}\n{generated}\n{end}{after}"


def _rows(variables: list[Variable]) -> list[str]:
    lines = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for variable in variables:
        choices = ", ".join(f"`{choice}`" for choice in variable.choices)
        kind = choices if 0 < len(variable.choices) <= 6 else variable.type
        lines.append(f"| `{variable.name}` | {kind} | {_code(variable)} | {meaning(variable)} |")
    return [*lines, ""]


def _rest_rows(variables: list[Variable]) -> list[str]:
    lines = ["| variable | type | default |", "|---|---|---|"]
    return [*lines, *(f"| `{v.name}` | {v.type} | {_code(v)} |" for v in variables), ""]


def _code(variable: Variable) -> str:
    return f"`{variable.default}`" if variable.default else ""


def _by_category() -> Iterator[tuple[str, list[Variable]]]:
    for title, names in words()["categories"].items():
        yield title, [catalogue()[name] for name in names]


def _deployed() -> Iterator[tuple[str, list[Variable]]]:
    """Without what has a meaning only for the local endpoint."""
    for title, variables in _by_category():
        yield title, [variable for variable in variables if variable.name not in LOCAL_ONLY]


def _title(variable: Variable) -> str:
    acronyms = {"gpu": "GPU", "cpu": "CPU", "kv": "KV", "hf": "HF", "lora": "LoRA",
                "loras": "LoRAs", "openai": "OpenAI", "vllm": "vLLM", "mm": "MM"}  # fmt: skip
    words = [acronyms.get(word, word) for word in variable.name.lower().split("_")]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[], str]] = {
    OPTIONS: vllm_options,
    "Dockerfile": dockerfile,
    "docker-bake.hcl": bake,
    "worker-config.json": worker_config,
    ".runpod/hub.json": hub,
    ".runpod/load-balancer/hub.json": hub_of_load_balancer,
    ".runpod/tests.json": hub_tests,
    "docs/configuration.md": reference,
    "docs/performance.md": performance,
    "docs/cold-start.md": cold_start,
    "docs/gateway.md": gateway,
    "docs/versions.md": versions,
    "docs/seams.md": seams,
    "docs/migration.md": migration,
    "docs/structured-outputs.md": structured_outputs,
    "docs/upstream.md": upstream,
    "README.md": readme,
}

if __name__ == "__main__":
    sys.exit(main())
