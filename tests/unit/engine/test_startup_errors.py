import pytest

from vllm_worker.engine.startup_errors import start_failure


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("ValueError: 3.5 GiB KV cache is needed, larger than the available KV cache memory (2.1 "
         "GiB)", "The context does not fit into the KV cache"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "not enough memory"),
        ("ValueError: Free memory on device cuda:0 (3/24 GiB) on startup is less than desired",
         "not enough memory"),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {}", "is killed"),
        ("OSError: You are trying to access a gated repo.", "set HF_TOKEN"),
        ("OSError: x/y is not a local folder and is not a valid model identifier", "MODEL_NAME"),
        ("RevisionNotFoundError: 404 Client Error", "MODEL_REVISION"),
        ("OSError: We couldn't connect to 'https://huggingface.co'", "cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("RuntimeError: Failed to infer device type, please set the environment variable "
         "`VLLM_LOGGING_LEVEL=DEBUG`", "No GPU can be used"),
        ("RuntimeError: No CUDA GPUs are available", "No GPU can be used"),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 12040)",
         "driver is too old"),
        ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has "
         "unsupported display driver / cuda driver combination", "driver is too old"),
        ("torch.AcceleratorError: CUDA error: no kernel image is available for execution on the "
         "device", "compute capability"),
        ("RuntimeError: unable to write to file </torch_4242_1>: No space left on device (28)",
         "--shm-size"),
        ("torch.distributed.DistBackendError: NCCL error: Error while creating shared memory "
         "segment /dev/shm/nccl-x (size 9637888): No space left on device (28)", "--shm-size"),
        ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp, unhandled cuda "
         "error, NCCL version 2.27.5", "NCCL_P2P_DISABLE"),
    ],
)  # fmt: skip
def test_a_failure_says_what_to_change(reason: str, advice: str) -> None:
    failure = str(start_failure("the engine could not be built", reason))
    assert failure.startswith(f"the engine could not be built: {reason[:20]}")
    assert advice in failure


def test_a_reason_that_nobody_knows_stands_for_itself_and_is_not_endless() -> None:
    assert str(start_failure("x", "KeyError:\n 'y'")) == "x: KeyError: 'y'."
    assert len(str(start_failure("x", "word " * 1000))) < 700
