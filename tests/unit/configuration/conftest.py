"""A machine without a GPU for every test of the configuration."""

import pytest


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, whatever the machine has."""
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 0)
