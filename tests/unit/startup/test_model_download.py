"""A model that is not there is downloaded before the engine is built."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, Hub
from tests.support.threaded_server import serving
from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.startup.model_download import downloading


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    with serving(hub.app) as hub.url:
        yield hub


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Configuration:
    configuration = load_configuration({"BASE_PATH": str(tmp_path)} | environ)
    for name, value in configuration.library_env.items():
        monkeypatch.setenv(name, value)
    return configuration


def test_what_vllm_reads_is_fetched_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    configuration = load(tmp_path, monkeypatch, MODEL_NAME="owner/small")
    with downloading(configuration) as downloaded:
        folder = Path(downloaded().model)
    assert folder.name == COMMIT
    assert sorted(hub.asked) == ["config.json", "model.safetensors", "tokenizer.json"]
    # From then on, the Hub is not asked.
    assert load(tmp_path, monkeypatch, MODEL_NAME="owner/small").model == str(folder)


@pytest.mark.parametrize(
    "given",
    [
        {"MODEL_NAME": "owner/other"},
        {"MODEL_NAME": "owner/gated"},
        {"MODEL_NAME": "owner/small", "LOAD_FORMAT": "mistral"},
        {"MODEL_NAME": "owner/small", "DOWNLOAD_DIR": "/models"},
        {"MODEL_NAME": "demo"},
    ],
)
def test_what_cannot_be_had_or_is_read_otherwise_is_left_to_vllm(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    given: dict[str, str],
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    configuration = load(tmp_path, monkeypatch, **given)
    with downloading(configuration) as downloaded:
        assert downloaded() is configuration
    assert "Traceback" not in capfd.readouterr().err
    assert not hub.asked
