"""The gateway as a process."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai

from builder import gateway, set_up
from tests.support.http_worker import KEY
from tests.support.worker_process import WorkerProcess

KEYS = {"ALICE": "alice's", "BOB": "bob's", "SLOW": "slow's", "HTTP_KEY": KEY}
_START_S = 180
_STOP_S = 60


def jobs(worker: WorkerProcess) -> int:
    """How many jobs the worker has had."""
    return len(re.findall(r"job \S+: ", worker.log))


class Gateway:
    """A running gateway; `log` is what it has written so far."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self.log = ""
        self.process = subprocess.Popen(
            gateway.command(file),
            cwd=set_up.ROOT,
            env=gateway.environment() | dict(environ) | {"PYTHONPATH": "src"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.url = ""

    def wait(self) -> None:
        """Until it answers. Fails with its log when it does not."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"serving on (\S+)/v1", self.log):
                self.url = found[1]
                try:
                    httpx.get(f"{self.url}/health", timeout=30, trust_env=False)
                    return
                except httpx.TransportError:
                    pass
            time.sleep(0.2)
        raise AssertionError(self.log)

    def client(self, key: str, path: str = "/v1") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.url + path, api_key=key, max_retries=0, timeout=60,
            http_client=httpx.Client(trust_env=False),
        )  # fmt: skip

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(_STOP_S)
        assert code == 0, self.log

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.log += line


@contextmanager
def running_gateway(file: Path, environ: Mapping[str, str]) -> Iterator[Gateway]:
    running = Gateway(file, environ)
    try:
        running.wait()
        yield running
        running.stop()
    finally:
        running.process.kill()
