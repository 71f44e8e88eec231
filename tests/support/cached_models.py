"""Models in the layout of Hugging Face's cache, by their files' names alone."""

from pathlib import Path


def put_model(
    base: Path, name: str = "org/model", commit: str = "abc", weights: str = "model.safetensors"
) -> Path:
    snapshot = base / f"huggingface-cache/hub/models--{name.replace('/', '--')}/snapshots/{commit}"
    snapshot.mkdir(parents=True)
    for file in ("config.json", "tokenizer.json", weights):
        (snapshot / file).touch()
    return snapshot
