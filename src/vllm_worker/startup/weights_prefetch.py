"""The model's weights, on their way into the page cache while Python still imports vLLM."""

import queue
import threading
from contextlib import suppress
from pathlib import Path

from vllm_worker.configuration import Configuration
from vllm_worker.configuration.model_files import wanted_weights
from vllm_worker.startup.memory import available_bytes

_THREADS = 4
_BLOCK_BYTES = 16 * 1024**2
"""Large, since each read that returns has to wait for its turn beside the imports."""
_SHARE = 0.5
"""Of the memory that is available. More than that would drive out what has been read."""


def prefetch_weights(configuration: Configuration) -> None:
    """Start reading the weights into the page cache, if they are on this machine.

    Returns at once. What cannot be read is not, and vLLM will say why.
    """
    files = weights(configuration)
    if sum(file.stat().st_size for file in files) > _SHARE * available_bytes():
        return
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for file in files:
        waiting.put(file)
    for _ in range(min(_THREADS, len(files))):
        threading.Thread(target=_read, args=[waiting], daemon=True).start()


def weights(configuration: Configuration) -> list[Path]:
    """The files that vLLM will load, in its order; none if it is not to load any, or has to
    download them first."""
    given = {name: value.text for name, value in configuration.values.items()}
    if given.get("LOAD_FORMAT", "auto") not in ("auto", "safetensors"):
        return []
    folder = Path(configuration.model)
    if not folder.is_dir():
        # Only here: importing it takes time, which a model in a folder can do without.
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(
                    configuration.model,
                    revision=given.get("MODEL_REVISION"),
                    cache_dir=given.get("DOWNLOAD_DIR"),
                    local_files_only=True,
                )
            )
        except (OSError, ValueError):
            return []
    found = sorted(file.name for file in folder.glob("*.safetensors"))
    return [folder / name for name in wanted_weights(found)]


def _read(waiting: "queue.SimpleQueue[Path]") -> None:
    block = bytearray(_BLOCK_BYTES)
    with suppress(queue.Empty, OSError):
        while True:
            with waiting.get_nowait().open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass
