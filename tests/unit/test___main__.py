"""The command `vllm-worker` is there at once, and on machines that have no vLLM."""

import json
import subprocess
import sys

from tests.support.worker_process import ROOT

HEAVY = ("vllm", "torch", "transformers", "runpod")
SLOW = ("openai", "httpx", "jinja2")


def loaded_by(*words: str) -> set[str]:
    """The top-level modules that a run of the command imports, with those of HEAVY missing."""
    script = f"""
import json, sys
for name in {HEAVY!r}:
    sys.modules[name] = None
from vllm_worker.__main__ import main
sys.argv = ["vllm-worker", *{words!r}]
try:
    main()
finally:
    loaded = [name for name, module in sys.modules.items() if module and "." not in name]
    print("loaded:", json.dumps(loaded), file=sys.stderr)
"""
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    *_, last = ran.stderr.splitlines()
    return set(json.loads(last.removeprefix("loaded: ")))


def test_help_waits_for_nothing_slow() -> None:
    assert not loaded_by("--help").intersection(SLOW)
    assert not loaded_by("chat", "--help").intersection(SLOW)


def test_an_endpoint_is_asked_without_vllm() -> None:
    assert "openai" in loaded_by("models", "--url", "http://127.0.0.1:1")
    assert "httpx" in loaded_by("health", "--url", "http://127.0.0.1:1")
