"""The order of the checks: a start without caches and jobs, starts with them, vLLM by itself."""

import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.settings import DEMO_MODEL
from vllm_worker.gpu_check import checks
from vllm_worker.gpu_check.machine import describe, gpus
from vllm_worker.gpu_check.process import CheckFailed, Served, bare_engine, vllm_server, worker
from vllm_worker.gpu_check.report import Result, as_json, as_markdown

_JOBS: dict[str, checks.Check] = {
    "native": checks.native,
    "native stream": checks.native_stream,
    "chat": checks.chat,
    "chat stream": checks.chat_stream,
    "JSON schema": checks.schema,
    "tool call": checks.tools,
    "cancel": checks.cancel,
    "soak": checks.soak,
    "memory": checks.memory,
}
_LOCAL = {
    "WORKER_MODE": "local", "HOST": "127.0.0.1", "PORT": "0", "API_KEY": "", "API_KEYS_FILE": "",
}  # fmt: skip
_HUB = "huggingface-cache/hub"
NO_GPU = "There is no NVIDIA GPU here, or no driver: nvidia-smi names none. Nothing was checked."
NO_HANDLER = "There is no handler.py here: run this in the repository, or in /worker of the image."


def gpu_check(
    environ: Mapping[str, str], report: Path, say: Callable[[str], None], without_gpu: bool = False
) -> int:
    """Do all checks on the configured model, or the embedded one; returns the exit code.

    Writes `report` with .md and .json, and the logs beside it. `without_gpu` goes on where there is
    none, to try the checks themselves. Raises ConfigurationError.
    """
    machine = describe()
    if not machine["gpus"] and not without_gpu:
        say(NO_GPU)
        return 1
    if not Path("handler.py").exists():
        say(NO_HANDLER)
        return 1
    logs = Path(f"{report}-logs")
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        checking = GPUCheck(environ, Path(folder), logs, say)
        checking.run()
    for suffix, write in ((".md", as_markdown), (".json", as_json)):
        path = Path(f"{report}{suffix}")
        path.write_text(write(machine, checking.model, checking.results))
        say(f"wrote {path}")
    return int(any(result.verdict == "failed" for result in checking.results))


class GPUCheck:
    """The checks of one model, with their results so far."""

    def __init__(
        self, environ: Mapping[str, str], folder: Path, logs: Path, say: Callable[[str], None]
    ) -> None:
        given = {name: text for name, text in environ.items() if text} | _LOCAL
        settings = load_configuration(given).settings
        self.model = settings.model_name
        # What is there already is not downloaded again.
        if (hub := Path(settings.base_path) / _HUB).is_dir():
            given.setdefault("HF_HUB_CACHE", str(hub))
        given.setdefault("HF_HOME", str(Path.home() / ".cache/huggingface"))
        given.setdefault("MAX_NUM_SEQS", "256")
        if self.model == DEMO_MODEL:
            given.setdefault("TENSOR_PARALLEL_SIZE", "1")
        self._environment = given | {"BASE_PATH": str(folder / "volume")}
        self._folder = folder
        self._logs = logs
        self._say = say
        self._ours = 0.0
        self.results: list[Result] = []

    def run(self) -> None:
        """All of them; each result is printed when it is there."""
        (self._folder / "volume").mkdir()
        self._with_worker(
            "start, nothing cached", {},
            {**_JOBS, "throughput": self._throughput, "SIGTERM": checks.sigterm},
        )  # fmt: skip
        self._with_worker("start, caches from the volume", {}, {"killed core": checks.killed_core})
        if len(pair := self._visible()[:2]) == 2:
            two = {"CUDA_VISIBLE_DEVICES": ",".join(pair), "TENSOR_PARALLEL_SIZE": "2"}
            self._with_worker("start on two GPUs", two, _JOBS)
        else:
            self._note("start on two GPUs", "skipped", "there are not two")
        self._check("throughput of vllm serve", self._of_vllm)
        self._check("throughput of the bare engine", self._of_the_engine)

    def _visible(self) -> list[str]:
        chosen = self._environment.get("CUDA_VISIBLE_DEVICES")
        return chosen.split(",") if chosen else [str(number) for number in range(len(gpus()))]

    def _with_worker(
        self, name: str, more: Mapping[str, str], asked: Mapping[str, checks.Check]
    ) -> None:
        """A start, which is a check of its own, and then those of the running worker. It has files
        of its own, as in a new container.
        """
        started = time.monotonic()
        slug = name.replace(" ", "-").replace(",", "")
        own = {"XDG_CACHE_HOME": str(self._folder / slug)}
        try:
            with worker(
                {**self._environment, **own, **more}, self._logs / f"{slug}.log"
            ) as running:
                served, asking = running
                parts = re.findall(r"ready for jobs, (.*)", served.log)[0]
                self._note(name, "passed", parts, time.monotonic() - started)
                for check_name, check in asked.items():
                    self._check(check_name, _asking(check, served, asking))
        except CheckFailed as error:
            self._note(name, "failed", str(error), time.monotonic() - started)

    def _throughput(self, served: Served, asking: httpx.Client) -> str:
        self._ours = checks.tokens_per_s(asking)
        return f"{self._ours:,.0f} tokens per second"

    def _of_vllm(self) -> str:
        words, environment = self._for_vllm()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with vllm_server(words, environment, port, self._logs / "vllm-serve.log") as asking:
            return self._compared(checks.tokens_per_s(asking))

    def _of_the_engine(self) -> str:
        words, environment = self._for_vllm()
        log = self._logs / "bare-engine.log"
        return self._compared(bare_engine(words, environment, checks.STREAMS, checks.TOKENS, log))

    def _for_vllm(self) -> tuple[list[str], dict[str, str]]:
        """The worker's configuration as a command line of vLLM and its environment."""
        configuration = load_configuration(self._environment)
        environment = dict(self._environment)
        configuration.export(environment)
        return [word for _, option in configuration.options() for word in option], environment

    def _compared(self, theirs: float) -> str:
        return (
            f"{theirs:,.0f} tokens per second, of which this worker has {self._ours / theirs:.2f} ×"
        )

    def _check(self, name: str, check: Callable[[], str]) -> None:
        started = time.monotonic()
        try:
            detail, verdict = check(), "passed"
        except Exception as error:  # whatever it is, the other checks go on
            detail, verdict = f"{type(error).__name__}: {error}", "failed"
        self._note(name, verdict, detail, time.monotonic() - started)

    def _note(self, name: str, verdict: str, detail: str, seconds: float = 0.0) -> None:
        self.results.append(Result(name, verdict, detail, seconds))
        self._say(f"{verdict:8}{name}: {detail}")


def _asking(check: checks.Check, served: Served, asking: httpx.Client) -> Callable[[], str]:
    return lambda: check(served, asking)
