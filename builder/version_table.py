"""The table of the versions of vLLM that the worker was tried with: `make generate` puts it into
docs/versions.md, from what `make test-vllm` has measured.

    .venv/bin/python -m builder.version_table    prints it
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "vllm-versions.json"


@dataclass
class Result:
    """What one version of vLLM has shown."""

    version: str
    commit: str = ""
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """How many tests, by the reason."""
    flow_control: str = ""
    start_s: float | None = None
    start_ratio: float | None = None
    """To the start with the pinned version, in the same run."""
    note: str = ""

    def set_ratio(self, pinned_s: float | None) -> None:
        """`pinned_s` is the start with the pinned version."""
        if pinned_s and self.start_s is not None:
            self.start_ratio = round(self.start_s / pinned_s, 2)


def load(path: Path = RESULTS) -> list[Result]:
    """By version, newest first."""
    rows = json.loads(path.read_text()) if path.exists() else []
    results = [Result(**row) for row in rows]
    return sorted(results, key=lambda result: order(result.version), reverse=True)


def merge(results: list[Result], path: Path = RESULTS) -> None:
    """Keeps these, and of the others what earlier runs have kept."""
    kept = {result.version: result for result in [*load(path), *results]}
    rows = [asdict(kept[version]) for version in sorted(kept, key=order, reverse=True)]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def order(version: str) -> list[int]:
    """A key to sort versions by: 0.9 comes before 0.10."""
    return [int(number) for number in re.findall(r"\d+", version)]


def table(results: list[Result]) -> str:
    if not results:
        return "`make test-vllm VLLM=all` has not been run yet.\n"
    lines = [
        "| vLLM | passed | failed | skipped | flow control | start-up | note |",
        "|---|---|---|---|---|---|---|",
        *map(_row, results),
        "",
        *_failures(results),
        *_skipped(results),
    ]
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    """A short form for the README: without the names of what failed."""
    if not results:
        return table(results)
    names = ["vLLM", *(result.version for result in results)]
    passed = ["passed", *(str(result.passed) for result in results)]
    failed = ["failed", *(_failed(result) for result in results)]
    lines = (" | ".join(cells) for cells in (names, ["---"] * len(names), passed, failed))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _failed(result: Result) -> str:
    return f"**{len(result.failed)}**" if result.failed else "0"


def _row(result: Result) -> str:
    ratio = "" if result.start_ratio is None else f"{result.start_ratio:.2f} ×"
    grade = result.flow_control
    passed, skipped = str(result.passed), str(sum(result.skipped.values()))
    cells = [result.version, passed, _failed(result), skipped, grade, ratio, result.note]
    return "|" + "|".join(f" {cell} ".replace("  ", " ") for cell in cells) + "|"


def _failures(results: list[Result], most: int = 20) -> list[str]:
    lines: list[str] = []
    for result in results:
        if not result.failed:
            continue
        lines += [f"Failed with {result.version}:", ""]
        lines += [f"- `{name}`" for name in result.failed[:most]]
        if len(result.failed) > most:
            lines.append(f"- and {len(result.failed) - most} more")
        lines.append("")
    return lines


def _skipped(results: list[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        if result.skipped:
            reasons = (f"- {count}: {reason}" for reason, count in result.skipped.items())
            lines += [f"Skipped with {result.version}:", "", *reasons, ""]
    return lines


if __name__ == "__main__":
    print(table(load()))
