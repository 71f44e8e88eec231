"""What became of each variable of worker-vllm, for docs/migration.md."""

import json
from pathlib import Path
from typing import Any

from vllm_worker.configuration.catalogue import catalogue, words

HISTORY = Path(__file__).parents[1] / "tests/compat/worker_vllm_variables.json"
NOT_A_VARIABLE = {"ARG"}
"""The head of a table in its documentation."""


def table() -> str:
    """One row for each variable that works differently, and a list of those that do not."""
    history: dict[str, Any] = json.loads(HISTORY.read_text())["variables"]
    names = [name for name in history if name not in NOT_A_VARIABLE]
    different = {name: meaning for name in names if (meaning := _difference(name))}
    same = ", ".join(f"`{name}`" for name in names if name not in different)
    rows = [
        f"| `{name}` | {history[name]['first_seen'][:4]} to {history[name]['last_seen'][:4]} | "
        f"{meaning} |"
        for name, meaning in different.items()
    ]
    head = ["| variable | in worker-vllm | here |", "|---|---|---|"]
    return "\n".join([f"The same, {len(names) - len(rows)}: {same}.", "", *head, *rows]) + "\n"


def _difference(name: str) -> str:
    """What is different about a variable, "" if nothing is."""
    if name in catalogue():
        return ""
    if name in words()["libraries"]["read"]:
        return "read by Hugging Face's library, PyTorch or vLLM, as there"
    if meant := words()["aliases"].get(name):
        return f"read as `{meant}`"
    if meant := words()["translated"].get(name):
        return f"read as {meant}; the log has a note"
    return f"no effect: {words()['retired'][name]}; the log has a note"
