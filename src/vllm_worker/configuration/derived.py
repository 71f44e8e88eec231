"""What follows from the machine and the volume where nobody says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path

from vllm_worker.configuration.sources import Sources
from vllm_worker.settings import Settings


def derive(settings: Settings, sources: Sources, gpus: int) -> dict[str, str]:
    """Adds derived values to the sources; returns environment variables for the libraries below."""
    if gpus > 1 and "DATA_PARALLEL_SIZE" not in sources.values:
        pipeline = sources.values.get("PIPELINE_PARALLEL_SIZE")
        groups = int(pipeline.text) if pipeline else 1
        sources.add({"TENSOR_PARALLEL_SIZE": max(gpus // groups, 1)}, "visible GPUs")
    exports = {}
    if settings.hf_token:
        exports["HF_TOKEN"] = settings.hf_token.get_secret_value()
    if folder := cache_folder(settings.base_path):
        exports["HF_HOME"] = str(folder)
    return exports


def cache_folder(base_path: str) -> Path | None:
    """Hugging Face's folder under BASE_PATH; None, for Hugging Face's own default, without it.

    The platform's volume is there or not; another folder is made by whoever writes to it first.
    """
    base = Path(base_path)
    usable = os.access(base, os.W_OK) or (not base.exists() and os.access(base.parent, os.W_OK))
    default = Settings.model_fields["base_path"].default
    if not usable or (base_path == default and not base.exists()):
        return None
    return base / "huggingface-cache"


def count_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """The GPUs that CUDA will see, without asking CUDA."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len(list(devices.glob("nvidia[0-9]*")))


def find_model(settings: Settings, sources: Sources) -> str:
    """What vLLM loads: the model by its name, or its folder in a cache that lower-cased the name.

    RunPod's own model cache may do that, and then huggingface_hub does not find the model there.
    """
    folder = cache_folder(settings.base_path)
    if folder is None or "MODEL_REVISION" in sources.values or "/" not in settings.model_name:
        return settings.model
    hub, wanted = folder / "hub", f"models--{settings.model.replace('/', '--')}"
    if (hub / wanted).exists():
        return settings.model
    for cached in hub.glob("models--*"):
        if cached.name.lower() == wanted.lower():
            snapshots = [path for path in (cached / "snapshots").glob("*") if path.is_dir()]
            if snapshots:
                return str(max(snapshots, key=lambda path: path.stat().st_mtime))
    return settings.model
