"""Why an engine did not start, and what to change, in one line."""

import re

from vllm_worker.errors import StartFailure

_ADVICE = {
    r"available KV cache memory|No available memory for the cache": (
        "The context does not fit into the KV cache: lower MAX_MODEL_LEN, raise "
        "GPU_MEMORY_UTILIZATION or KV_CACHE_MEMORY_BYTES, or set KV_CACHE_DTYPE=fp8."
    ),
    r"out of memory|OutOfMemory|can't allocate memory|not enough memory|MemoryError|Free memory on"
    r"|Available memory on node": (
        "There is not enough memory: take a larger GPU or more of them, a quantized model, or a "
        "lower MAX_MODEL_LEN, MAX_NUM_SEQS, KV_CACHE_MEMORY_BYTES or GPU_MEMORY_UTILIZATION."
    ),
    r"[Gg]ated|\b40[13]\b|restricted|awaiting a review": (
        "Hugging Face denies access: set HF_TOKEN to a token of an account that has access."
    ),
    r"RepositoryNotFound|Repository Not Found|RevisionNotFound|\b404\b|valid model identifier": (
        "Hugging Face has no such model, or not for this account: check MODEL_NAME and "
        "MODEL_REVISION, and HF_TOKEN if it is private."
    ),
    r"couldn't connect|offline|LocalEntryNotFound|Connection|Max retries": (
        "The model is not in a local folder or cache, and Hugging Face cannot be reached: check "
        "MODEL_NAME, BASE_PATH and the network."
    ),
    r"Failed to infer device type|No CUDA GPUs are available|no NVIDIA driver": (
        "No GPU can be used: this is the build for NVIDIA GPUs. Start the container with one, or "
        "use the CPU image."
    ),
    r"driver on your system is too old|driver version is insufficient|[Ee]rror 803"
    r"|unsupported display driver": (
        "The NVIDIA driver is too old for this image's CUDA, or not for this kind of GPU: choose a "
        "host with a newer driver (Allowed CUDA versions in the endpoint's settings), or the image "
        "with CUDA 12.9."
    ),
    r"no kernel image is available": (
        "The image has no code for this kind of GPU: it begins at compute capability 7.5 (T4)."
    ),
    r"/dev/shm|psm_|</?torch_\d|shared memory segment": (
        "Shared memory (/dev/shm) is too small for several GPUs: give the container more of it "
        "(docker run --shm-size=8g, or --ipc=host)."
    ),
    r"NCCL": (
        "The GPUs cannot reach each other: try NCCL_P2P_DISABLE=1, and NCCL_DEBUG=WARN for NCCL's "
        "own reason."
    ),
    r"No space left": "The disk is full: give the worker a larger disk or a network volume.",
    r"Engine core initialization failed": (
        "The reason is in vLLM's log above, or there is none, as when a process of the engine is "
        "killed because main memory has run out."
    ),
}
"""Pattern in vLLM's or Hugging Face's reason → what to change. The first match counts."""

_LONGEST = 600


def start_failure(what: str, reason: str) -> StartFailure:
    """The failure, from `what` was being done and the reason that vLLM gave."""
    advice = next((text for sign, text in _ADVICE.items() if re.search(sign, reason)), "")
    reason = " ".join(reason.split())
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]} …"
    return StartFailure(f"{what}: {reason.rstrip('. ')}. {advice}".rstrip())
