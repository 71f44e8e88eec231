"""The examples of the README and of docs/api.md, as they are printed."""

import json
import re
from pathlib import Path

import pytest

from tests.support import examples
from tests.support.worker_process import WorkerProcess
from vllm_worker.local_endpoint.process import EndpointProcess

OTHER_MODELS = {
    "/v1/embeddings and /pooling": "test_embeddings.py",
    "/classify": "test_scoring.py",
    "/score and /rerank": "test_scoring.py",
    "/v1/audio/transcriptions and /v1/audio/translations": "test_transcription.py",
    "Images, videos and audio in a chat": "test_media.py",
}
"""Sections whose examples need another model → the module that runs them."""


def example(document: str, language: str, containing: str) -> str:
    text = (examples.ROOT / document).read_text()
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [b for b in found if containing in b and examples.PRINTED_URL in b]
    return block


@pytest.fixture
def url(worker: WorkerProcess, endpoint: EndpointProcess) -> str:
    return endpoint.url


def test_the_native_example(url: str, tmp_path: Path) -> None:
    code = example("README.md", "bash", "curl")
    answer = json.loads(examples.run("bash", code, url, tmp_path))
    assert answer["status"] == "COMPLETED"
    (output,) = answer["output"]
    assert_legible(output["choices"][0]["tokens"][0], about="RunPod")
    assert output["choices"][0]["finish_reason"] == "stop"


def test_the_openai_example(url: str, tmp_path: Path) -> None:
    code = example("README.md", "python", "OpenAI(")
    assert_legible(examples.run("python", code, url, tmp_path), about="vLLM")


@pytest.mark.parametrize("title", sorted(examples.titles() - OTHER_MODELS.keys()))
def test_the_examples_of_a_section(url: str, tmp_path: Path, title: str) -> None:
    examples.run_section(title, url, tmp_path)


def test_every_other_section_is_run_where_its_model_is() -> None:
    for title, module in OTHER_MODELS.items():
        assert title in examples.titles()
        assert f'"{title}"' in (Path(__file__).parent / module).read_text()


def assert_legible(text: str, about: str) -> None:
    """A sentence of English about the subject that ends as sentences do."""
    assert about in text
    assert re.fullmatch(r"\w[\w ,.:;'()/\-–!?\"`]+[.!?]\s*", text), text
    assert len(text.split()) > 8
