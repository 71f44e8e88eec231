"""What is compared: the bare engine, vLLM's server, a proxy in front of it, and this worker with a
queue and in http mode.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.platform import Answer, Platform, running_platform
from vllm_worker.configuration import load_configuration
from vllm_worker.gpu_check.machine import gpus

ROOT = Path(__file__).parents[1]
SYSTEMS = ("raw", "serve", "proxy", "ours", "http")
MODEL = "benchmarked"
"""The name by which all of them serve it."""
NATIVE, CHAT_STREAM, CHAT = "native stream", "chat stream", "chat"
_START_S = 240
_SETTLING_S = 0.5
"""How long a worker that wakes up needs to ask its queue for jobs again."""


def settings(model: str) -> dict[str, str]:
    """The worker's variables; `model` is MODEL_NAME. Without a GPU vLLM has to be told how much
    memory is for its cache: 256 streams of 256 tokens of the embedded model take 512 MiB.
    """
    memory = {} if gpus() else {"KV_CACHE_MEMORY_BYTES": str(512 * 1024**2)}
    # What the worker does by itself on such a CPU, for vLLM's server as well.
    slow = not gpus() and "avx512f" not in Path("/proc/cpuinfo").read_text()
    return (
        memory
        | ({"DTYPE": "float32"} if slow else {})
        | {
            "MODEL_NAME": model,
            "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL,
            "MAX_NUM_SEQS": "1024" if gpus() else "256",
            "RUNPOD_LOG_LEVEL": "INFO",
        }
    )


@dataclass(frozen=True)
class Setup:
    """The variables of all systems, and the folder for what they say."""

    logs: Path
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """A load: so many jobs at once, of one kind, on a platform with this latency in seconds."""

    kind: str
    streams: int
    latency: float
    tokens: int

    @property
    def name(self) -> str:
        """For people."""
        latency = f", {1000 * self.latency:.0f} ms a POST" if self.latency else ""
        return f"{self.streams} × {self.kind}{latency}"

    @property
    def repeats(self) -> int:
        """How often it is measured in a round: what is over soon is noisy."""
        if self.latency or self.streams > 64 or self.tokens < 256:
            return 1
        return 4 if self.streams == 1 else 2

    @property
    def body(self) -> dict[str, Any]:
        """The body of the request that the job makes of vLLM's server."""
        if self.kind == NATIVE:
            return {"model": MODEL, "prompt": "RunPod is", "stream": True} | self._sampling
        messages = [{"role": "user", "content": "What is RunPod?"}]
        stream = self.kind == CHAT_STREAM
        return {"model": MODEL, "messages": messages, "stream": stream} | self._sampling

    @property
    def route(self) -> str:
        return "/v1/completions" if self.kind == NATIVE else "/v1/chat/completions"

    @property
    def job(self) -> dict[str, Any]:
        """The same as a job's input."""
        if self.kind != NATIVE:
            return {"openai_route": self.route, "openai_input": self.body}
        return {
            "model": MODEL,
            "prompt": "RunPod is",
            "stream": True,
            "sampling_params": self._sampling,
        }

    @property
    def _sampling(self) -> dict[str, Any]:
        return {"max_tokens": self.tokens, "ignore_eos": True, "temperature": 0}


@dataclass
class System:
    """A running system. `ask_all` answers a case's jobs; benchmarks.lag writes `lag_file`."""

    name: str
    roots: list[psutil.Process]
    ask_all: Callable[[Case], Awaitable[list[Answer]]]
    platform: Platform | None = None
    lag_file: Path | None = None

    @property
    def processes(self) -> list[psutil.Process]:
        """All but the engine's."""
        return [process for process in self._family() if not process.name().startswith("VLLM::")]

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Lets the system run for the block only: an idle engine would take part of the CPU."""
        _signal(self._family(), signal.SIGCONT)
        await asyncio.sleep(_SETTLING_S)
        try:
            yield
        finally:
            _signal(self._family(), signal.SIGSTOP)

    def _family(self) -> list[psutil.Process]:
        return [process for root in self.roots for process in _with_children(root)]


@asynccontextmanager
async def raw(setup: Setup) -> AsyncIterator[list[System]]:
    async with python_process(
        "raw", ["-m", "benchmarks.raw_engine"], setup.settings, setup.logs, pipe=True
    ) as process:
        assert process.stdin
        assert process.stdout
        while (await process.stdout.readline()).strip() != b"ready":
            assert process.returncode is None, "the bare engine did not start"

        async def ask_all(case: Case) -> list[Answer]:
            assert process.stdin
            assert process.stdout
            asked = case.body.get("messages") or case.body["prompt"]
            order = json.dumps([case.streams, case.tokens, asked])
            process.stdin.write(f"{order}\n".encode())
            while not (line := await process.stdout.readline()).startswith(b"["):
                assert line, "the bare engine ended"
            return [Answer(**answer) for answer in json.loads(line)]

        yield [System("raw", [psutil.Process(process.pid)], ask_all)]
        _wake(process)
        process.stdin.close()  # at its end the process shuts its engine down
        await process.wait()


@asynccontextmanager
async def served(setup: Setup) -> AsyncIterator[list[System]]:
    """vLLM's server called directly, and the proxy in front of the same server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [word for _, option in load_configuration(setup.settings).options() for word in option]
    module = "vllm.entrypoints.launchers.api_server.entry"
    command = ["-m", module, *words, "--host", "127.0.0.1", "--port", str(port)]
    async with AsyncExitStack() as stack:
        command += ["--disable-uvicorn-access-log"]
        # Its clients keep their connections while other systems are measured.
        environment = {**setup.settings, "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3600"}
        server = await stack.enter_async_context(
            python_process("serve", command, environment, setup.logs)
        )
        session = await stack.enter_async_context(open_session(url))
        await until_answering(session, server, "/health")
        platform = await stack.enter_async_context(running_platform())
        worker = await stack.enter_async_context(
            python_process(
                "proxy",
                ["-m", "benchmarks.proxy_worker"],
                platform.environment | _watched("proxy", setup.logs) | {"BENCHMARK_SERVER": url},
                setup.logs,
            )
        )

        roots = [psutil.Process(server.pid)]
        behind = [*roots, psutil.Process(worker.pid)]
        yield [
            System("serve", roots, asking(session, lambda case: (case.route, case.body))),
            _queued("proxy", behind, platform, setup.logs),
        ]
        platform.close()


@asynccontextmanager
async def ours(setup: Setup) -> AsyncIterator[list[System]]:
    async with (
        running_platform() as platform,
        python_process(
            "ours",
            ["-m", "benchmarks.watched_handler"],
            {**setup.settings, **platform.environment, **_watched("ours", setup.logs)},
            setup.logs,
        ) as worker,
    ):
        yield [_queued("ours", [psutil.Process(worker.pid)], platform, setup.logs)]
        platform.close()


@asynccontextmanager
async def over_http(setup: Setup) -> AsyncIterator[list[System]]:
    """This worker in http mode, called directly as vLLM's server is."""
    port = free_port()
    door = {"WORKER_MODE": "http", "PORT": str(port)} | _watched("http", setup.logs)
    command = ["-m", "benchmarks.watched_handler"]
    async with (
        python_process("http", command, {**setup.settings, **door}, setup.logs) as worker,
        open_session(f"http://127.0.0.1:{port}") as session,
    ):
        await until_answering(session, worker, "/ping")

        def request(case: Case) -> tuple[str, dict[str, Any]]:
            return ("/generate", case.job) if case.kind == NATIVE else (case.route, case.body)

        roots = [psutil.Process(worker.pid)]
        yield [System("http", roots, asking(session, request), None, setup.logs / "http.lag")]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def open_session(url: str) -> aiohttp.ClientSession:
    """With as many connections as there are streams, and no time limit."""
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


def asking(
    session: aiohttp.ClientSession, request: Callable[[Case], tuple[str, dict[str, Any]]]
) -> Callable[[Case], Awaitable[list[Answer]]]:
    """Asks over HTTP; `request` gives the path and the body of a case."""

    async def ask(case: Case) -> Answer:
        path, body = request(case)
        answer = Answer(time.perf_counter())
        async with session.post(path, json=body) as response:
            assert response.status == 200, await response.text()
            async for _ in response.content.iter_any():
                answer.chunks.append(time.perf_counter())
        answer.ended = time.perf_counter()
        return answer

    async def ask_all(case: Case) -> list[Answer]:
        return await asyncio.gather(*(ask(case) for _ in range(case.streams)))

    return ask_all


def _watched(name: str, logs: Path) -> dict[str, str]:
    return {"BENCHMARK_LAG": str(logs / f"{name}.lag")}


def _queued(name: str, roots: list[psutil.Process], platform: Platform, logs: Path) -> System:
    async def ask_all(case: Case) -> list[Answer]:
        platform.latency = case.latency
        answers = await asyncio.gather(*(platform.ask(case.job) for _ in range(case.streams)))
        return [answer for answer, _ in answers]

    return System(name, roots, ask_all, platform, logs / f"{name}.lag")


@asynccontextmanager
async def python_process(
    name: str, command: list[str], environment: Mapping[str, str], logs: Path, pipe: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that ends with the block; what it says goes to a file in `logs`."""
    with (logs / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=ROOT,
            env=os.environ | dict(environment),
            stdin=asyncio.subprocess.PIPE if pipe else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if pipe else log,
            stderr=log,
            limit=64 * 1024**2,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                _wake(process)
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 30)
                except TimeoutError:
                    process.kill()
                    await process.wait()


def _wake(process: asyncio.subprocess.Process) -> None:
    _signal(_with_children(psutil.Process(process.pid)), signal.SIGCONT)


def _with_children(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            process.send_signal(number)


async def until_answering(
    session: aiohttp.ClientSession, server: asyncio.subprocess.Process, path: str
) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            assert server.returncode is None, "the server did not start"
            try:
                async with session.get(path) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(0.5)
