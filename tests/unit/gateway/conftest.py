"""A gateway's file with keys; that of ALICE is `alice's`, bob's is `bob`."""

from pathlib import Path

import pytest

from vllm_worker.gateway.file import GatewayFile, load

FILE = """
providers: {pod: {url: "http://127.0.0.1:1/v1"}}
models:
  default/llama: [{provider: pod, model: m}]
  team-a/llama: [{provider: pod, model: m}]
keys:
  alice: {key: ALICE_KEY, workspaces: [team-a]}
  bob: {sha256: 81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9}
"""


@pytest.fixture
def keyed_file(tmp_path: Path) -> GatewayFile:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE)
    return load(path, {"ALICE_KEY": "alice's"})
