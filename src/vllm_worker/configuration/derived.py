"""Values that follow from the machine and the volume unless set."""

import os
import shutil
from collections.abc import Mapping
from math import ceil, prod
from pathlib import Path

from vllm_worker.configuration.settings import Settings, is_true
from vllm_worker.configuration.sources import WORKER_DEFAULTS, Sources, Value
from vllm_worker.configuration.values import items

_LOADED_LATER = 7
"""Adapters that jobs may load, for which there are slots on a machine without a GPU."""
_TOKENIZER_THREADS = 8
"""Else tokenizers start a thread per core of the host, and panic where a container may not."""
_SHARED_MEMORY_BYTES = 2**30
"""What vLLM's queues between the processes of several GPUs, and NCCL, may fill of /dev/shm. Docker
gives 64 MiB."""


def derive(settings: Settings, sources: Sources, gpus: int) -> dict[str, str]:
    """Adds derived values to the sources; returns environment variables for the libraries below."""
    if gpus > 1 and "DATA_PARALLEL_SIZE" not in sources.values:
        pipeline = sources.values.get("PIPELINE_PARALLEL_SIZE")
        groups = max(int(pipeline.text), 1) if pipeline else 1
        sources.add({"TENSOR_PARALLEL_SIZE": max(gpus // groups, 1)}, "visible GPUs")
    _turn_adapters_on(settings, sources)
    stats = sources.values.get("DISABLE_LOG_STATS")
    if settings.metrics_port is not None and stats and stats.origin == WORKER_DEFAULTS:
        sources.values["DISABLE_LOG_STATS"] = Value("0", "METRICS_PORT")  # vLLM's are made of them
    if not gpus and not shutil.which(os.environ.get("CXX", "g++")):
        sources.add({"ENFORCE_EAGER": "1"}, "no C++ compiler")  # vLLM would compile for the CPU
    library_env = {"RAYON_NUM_THREADS": str(min(os.cpu_count() or 1, _TOKENIZER_THREADS))}
    eager = sources.values.get("ENFORCE_EAGER")
    if not gpus and eager and is_true(eager.text):
        # vLLM would still compile one function, at the first request for log-probabilities. That
        # needs a compiler, and all other jobs wait for it, ten seconds the first time.
        library_env["TORCHDYNAMO_DISABLE"] = "1"
    if settings.hf_token:
        library_env["HF_TOKEN"] = settings.hf_token.get_secret_value()
    # vLLM's own limit, in whole MiB; the worker's is the one that counts.
    library_env["VLLM_MAX_AUDIO_CLIP_FILESIZE_MB"] = str(ceil(settings.audio_max_bytes / 1024**2))
    if not gpus:
        # Without a GPU, vLLM cannot load models that it has compiled ahead ("'function' object
        # has no attribute 'finalize_loading'") and compiles them at each start.
        library_env["VLLM_USE_AOT_COMPILE"] = "0"
        library_env["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # it warns that vLLM binds memory to a node
    return library_env


def _turn_adapters_on(settings: Settings, sources: Sources) -> None:
    if "LORA_MODULES" in sources.values:
        sources.add({"ENABLE_LORA": "1"}, "LORA_MODULES")
    if settings.vllm_allow_runtime_lora_updating:
        sources.add({"ENABLE_LORA": "1"}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING")


def keep_a_slot_free(sources: Sources, gpus: int) -> list[str]:
    """Make MAX_LORAS larger than the number of adapters on a machine without a GPU.

    There, vLLM adds the adapter in the last slot to what the model itself generates in the
    same batch (its pull request 48421), unless that slot is empty. Returns a note for each value
    that is changed.
    """
    enabled = sources.values.get("ENABLE_LORA")
    if gpus or not enabled or not is_true(enabled.text):
        return []
    modules = sources.values.get("LORA_MODULES")
    slots = len(items(modules.text)) + 1 if modules else 1
    later = sources.values.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    if later and is_true(later.text):
        slots += _LOADED_LATER
    notes = []
    for name in ("MAX_LORAS", "MAX_CPU_LORAS"):
        value = sources.values.get(name)
        if value and int(value.text) < slots:
            why = "without a GPU, vLLM needs a slot for each adapter and a free one"
            notes.append(f"{name}={value.text} is read as {slots}: {why}.")
            del sources.values[name]
    sources.add({"MAX_LORAS": slots}, "no GPU")
    return notes


def shared_memory_note(sources: Sources, folder: Path = Path("/dev/shm")) -> list[str]:
    """A line where several GPUs have too little of it, which ends in a bus error or a wait."""
    names = ("TENSOR_PARALLEL_SIZE", "PIPELINE_PARALLEL_SIZE", "DATA_PARALLEL_SIZE")
    gpus = prod(int(sources.values[name].text) for name in names if name in sources.values)
    if gpus < 2 or not folder.exists():
        return []
    free = shutil.disk_usage(folder).free
    if free >= _SHARED_MEMORY_BYTES:
        return []
    return [
        f"/dev/shm has {free // 2**20} MiB left, and {gpus} GPUs may need 1 GiB: give the "
        "container more of it (docker run --shm-size=8g, or --ipc=host)."
    ]


def count_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """The GPUs that CUDA will see, without asking CUDA."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len(list(devices.glob("nvidia[0-9]*")))
