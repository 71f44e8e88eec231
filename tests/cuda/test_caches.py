"""Folders in which packages of the CUDA build keep compiled code."""

import re
import sysconfig
from pathlib import Path

from vllm_worker.configuration.cache_location import CacheLocation

_NAME = re.compile(rb"""["']([A-Z][A-Z0-9_]*CACHE_(?:DIR|ROOT|HOME|PATH))["']""")
ELSEWHERE = {
    "XDG_CACHE_HOME": "what others fall back on",
    "DG_JIT_CACHE_DIR": "vLLM sets it to a folder under VLLM_CACHE_ROOT",
    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "lies in FlashInfer's folder",
    "FLASHINFER_KDA_PTX_CACHE_DIR": "likewise",
    "FLASHINFER_CACHE_DIR": "the name of a constant",
    "FLASHINFER_AUTOTUNE_CACHE_DIR": "FlashInfer's own server",
    "FLYDSL_RUNTIME_CACHE_DIR": "AMD's GPUs",
    "VLLM_XLA_CACHE_PATH": "TPUs",
    "B12X_ROCE_CACHE_DIR": "several machines",
    "VLLM_LORA_RESOLVER_CACHE_DIR": "adapters",
    "TIKTOKEN_CACHE_DIR": "downloads",
    "DATA_GYM_CACHE_DIR": "downloads",
    "OUTLINES_CACHE_DIR": "a backend of structured outputs that is not used by default",
    "NUMBA_CACHE_DIR": "no package caches its functions",
    "MYPY_CACHE_DIR": "a tool",
    "USER_CACHE_DIR": "a constant of pip's",
}


def test_compiled_code_of_every_package_is_kept() -> None:
    named: set[str] = set()
    for file in Path(sysconfig.get_path("purelib")).rglob("*.py"):
        named |= {name.decode() for name in _NAME.findall(file.read_bytes())}
    assert {"TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"} <= named
    kept = CacheLocation(Path("/folder"), Path("/archive"), keep=True).library_env.keys()
    assert sorted(named - kept - ELSEWHERE.keys()) == []
