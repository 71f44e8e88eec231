"""The page that the checks leave behind, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What became of a check: `verdict` is passed, failed or skipped."""

    name: str
    verdict: str
    detail: str
    seconds: float


def as_json(machine: dict[str, Any], model: str, results: Sequence[Result]) -> str:
    facts = machine | {"model": model, "checks": [asdict(result) for result in results]}
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def as_markdown(machine: dict[str, Any], model: str, results: Sequence[Result]) -> str:
    gpus = [
        f"{gpu['name']}, {gpu['total_mib']:,} MiB, compute capability {gpu['compute_capability']}, "
        f"driver {gpu['driver']}"
        for gpu in machine["gpus"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"# {model} on {machine['gpus'][0]['name'] if gpus else 'a machine without a GPU'}",
        "",
        *(f"- {gpu}" for gpu in gpus),
        f"- {versions}",
        "",
        "| check | verdict | seconds | what was seen |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.name} | {r.verdict} | {r.seconds:.1f} | {_cell(r.detail)} |" for r in results]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
