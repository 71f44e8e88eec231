"""`vllm-worker` as people run it: with words, with a pipe, or in a terminal of their own."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

from typer.testing import CliRunner

from tests.support.worker_process import ROOT
from vllm_worker.__main__ import application

_COMMAND = [sys.executable, "-m", "vllm_worker"]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def command_line(*words: str, piped: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """One run of the command, to its end: in this process, where OpenAI's client is imported."""
    runner = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "200", **environ})
    ran = runner.invoke(application(), words, input=piped)
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert "should not have happened" not in ran.stderr
    return subprocess.CompletedProcess(words, ran.exit_code, ran.stdout, ran.stderr)


def command_line_process(
    *words: str, piped: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [*_COMMAND, *words],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"} | environ,
        input=piped,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Terminal:
    """A terminal in which the command runs. `written` is all that it got, `screen` the same without
    colours.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", device: int) -> None:
        self.process = process
        self.screen = self.written = ""
        self._device = device
        self._seen = 0

    def type(self, text: str) -> None:
        os.write(self._device, text.encode())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Until the text is on the screen, behind what this has waited for before."""
        deadline = time.monotonic() + seconds
        while (found := self.screen.find(text, self._seen)) < 0:
            self._read(deadline, f"{text!r} did not come after")
        self._seen = found + len(text)

    def exit_code(self, seconds: float = 120) -> int:
        """Of its end, when all that it writes is on the screen."""
        deadline = time.monotonic() + seconds
        # The error of a terminal says that nobody is left at its other end.
        with contextlib.suppress(OSError):
            while True:
                self._read(deadline, "it has not ended")
        return self.process.wait(10)

    def _read(self, deadline: float, complaint: str) -> None:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([self._device], [], [], max(left, 0))
        assert readable, f"{complaint}:\n{self.screen}"
        part = os.read(self._device, 65536).decode(errors="replace")
        self.written += part
        self.screen += _CONTROL.sub("", part)


@contextlib.contextmanager
def terminal(*words: str, **environ: str) -> Iterator[Terminal]:
    """A run of the command in a terminal; ended at the end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*_COMMAND, *words],
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"} | environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _take_terminal(device: int) -> None:
    """So that Ctrl-C, typed there, reaches the process, also where the tests are to ignore it."""
    fcntl.ioctl(device, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
