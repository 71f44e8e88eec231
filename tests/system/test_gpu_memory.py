"""`config --memory` as a process: a model of the Hub, and none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub as hub_module
from tests.support.commands import TOKEN, run
from tests.support.hub import Hub
from tests.support.model_configs import QWEN
from tests.support.threaded_server import serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With a model in its repository owner/small, whose weights are 7 bytes."""
    monkeypatch.setitem(hub_module.FILES, "config.json", json.dumps(QWEN).encode())
    hub = Hub()
    with serving(hub.app) as hub.url:
        yield hub


def weigh(base: Path, name: str, endpoint: str, **environ: str) -> tuple[int, str, str]:
    """The exit code and both outputs, with `base` as the volume."""
    environ |= {"MODEL_NAME": name, "HF_ENDPOINT": endpoint, "BASE_PATH": str(base)}
    ended = run("-X", "importtime", "-m", "vllm_worker", "config", "--memory", "24", **environ)
    lines = ended.stderr.splitlines(keepends=True)
    imports = "".join(line for line in lines if line.startswith("import time:"))
    assert not any(f" {heavy}\n" in imports for heavy in ("vllm", "torch", "transformers"))
    said = "".join(line for line in lines if not line.startswith("import time:"))
    assert TOKEN not in ended.stdout + said
    return ended.returncode, ended.stdout, said


def test_of_a_model_on_the_hub_the_small_files_are_fetched_once(hub: Hub, tmp_path: Path) -> None:
    code, said, _ = weigh(tmp_path, "owner/small", hub.url)
    assert code == 0
    assert "114,688 bytes a token" in said
    assert "by the sizes of the files on the Hub" in said
    assert hub.asked == ["config.json"]
    assert f"Bearer {TOKEN}" in hub.tokens
    weigh(tmp_path, "owner/small", hub.url)
    assert hub.asked == ["config.json"]


@pytest.mark.parametrize("name", ["owner/none", "owner/gated"])
def test_a_model_that_is_not_to_be_had_is_one_line(hub: Hub, tmp_path: Path, name: str) -> None:
    code, said, error = weigh(tmp_path, name, hub.url)
    assert (code, said) == (2, "")
    (line,) = error.splitlines()
    assert line.startswith(f"{name} is no folder, and neither in the cache nor to be had")


def test_without_a_network_a_model_that_is_not_in_the_cache_is_one_line(tmp_path: Path) -> None:
    code, _, error = weigh(tmp_path, "owner/small", "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert code == 2
    assert len(error.splitlines()) == 1
