"""The examples of the README and the documentation, as they are printed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.worker_process import ROOT, WorkerProcess
from vllm_worker.endpoint.process import EndpointProcess

PRINTED_URL = "http://127.0.0.1:8000"


def example(document: str, language: str, containing: str) -> str:
    text = (ROOT / document).read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    assert PRINTED_URL in block
    return block


@pytest.fixture
def run(worker: WorkerProcess, endpoint: EndpointProcess, tmp_path: Path):
    def run(*command: str, code: str) -> str:
        code = code.replace(PRINTED_URL, endpoint.url)
        answer = subprocess.run(
            [*command, code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True
        )
        return answer.stdout

    return run


def test_the_native_example(run) -> None:
    answer = json.loads(run("bash", "-c", code=example("README.md", "bash", "curl")))
    assert answer["status"] == "COMPLETED"
    (output,) = answer["output"]
    assert_legible(output["choices"][0]["tokens"][0], about="RunPod")
    assert output["choices"][0]["finish_reason"] == "stop"


def test_the_openai_example(run) -> None:
    program = example("README.md", "python", "OpenAI(")
    assert_legible(run(sys.executable, "-c", code=program), about="vLLM")


def test_the_runpod_example(run) -> None:
    printed = run(sys.executable, "-c", code=example("docs/api.md", "python", "runpod.Endpoint"))
    assert "'usage': {'input': " in printed


def assert_legible(text: str, about: str) -> None:
    """A sentence of English about the subject that ends as sentences do."""
    assert about in text
    assert re.fullmatch(r"\w[\w ,.:;'()/\-–!?\"`]+[.!?]\s*", text), text
    assert len(text.split()) > 8
