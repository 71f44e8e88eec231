"""Tries the worker with other versions of vLLM, each in an environment of its own.

    python3 -m builder.vllm_versions 0.31.0 | all | newest [--newest-sdk]
    python3 -m builder.vllm_versions all --only-environment
    python3 -m builder.vllm_versions all --only-start
    python3 -m builder.vllm_versions all --only-lock

`make test-vllm VLLM=0.31.0` does the same. The environments are kept, as .venv-vllm-VERSION in the
repository or in the folder that TEST_ENVIRONMENTS names. What came out is merged into
benchmarks/results/vllm-versions.json, of which builder.version_table makes a table.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from builder import set_up, version_table, vllm_environment
from builder.version_table import Result
from builder.vllm_environment import NotToBeHad

WINDOW = ("0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0")
"""What the worker is meant to run with: the versions that `all` tries."""
CORE = ("life", "cancel", "tools", "adapters", "embeddings", "media", "shutdown", "clients")
"""Of tests/system, what shows whether a version works."""
SUITES = {
    "tests/engine": ["tests/engine"],
    "tests/system": [f"tests/system/test_{name}.py" for name in CORE],
}
START_S = 600
SUITE_S = 3600
STOP_S = 60


def main() -> int:
    arguments = _arguments()
    versions = _versions(arguments.version)
    if arguments.only_lock:
        return _lock(versions)
    if arguments.only_start:
        return _measure_starts(versions)
    tries = Tries(arguments.newest_sdk, arguments.only_environment)
    for number, version in enumerate(versions, 1):
        tries.attempt(version, f"[{number}/{len(versions)}] vLLM {version}")
    if not arguments.only_environment:
        print(f"\n{version_table.table(tries.results)}")
    return 1 if any(result.failed for result in tries.results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tries the worker with other versions of vLLM.")
    parser.add_argument("version", help="such as 0.31.0; all: those of the window; newest")
    parser.add_argument("--newest-sdk", action="store_true", help="with RunPod's newest SDK too")
    parser.add_argument("--only-environment", action="store_true", help="make it and run nothing")
    parser.add_argument("--only-start", action="store_true", help="measure its start anew")
    parser.add_argument("--only-lock", action="store_true", help="write its lock file anew")
    return parser.parse_args()


def _versions(asked: str) -> list[str]:
    if asked == "all":
        return list(WINDOW)
    return [vllm_environment.newest("vllm") if asked == "newest" else asked.removeprefix("v")]


def _lock(versions: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        set_up.make_venv(Path(folder))
        for version in versions:
            if version != set_up.pinned("cpu"):
                vllm_environment.make_lock(version, Path(folder))
    return 0


def _measure_starts(versions: list[str]) -> int:
    """Of versions that were tried, for a machine that was busy then."""
    for result in version_table.load():
        if result.version not in versions:
            continue
        venv = vllm_environment.make_environment(result.version)
        pinned_s, _ = _start(set_up.VENV)
        result.start_s, _ = _start(venv)
        result.set_ratio(pinned_s)
        print(
            f"{result.version}: {result.start_s} s, with the pinned vLLM {pinned_s} s", flush=True
        )
        version_table.merge([result])
    return 0


@dataclass
class Tries:
    """One version after the other; what goes wrong with one is kept, and the next one tried."""

    newest_sdk: bool = False
    only_environment: bool = False
    results: list[Result] = field(default_factory=list)
    _pinned_start_s: float | None = None

    def attempt(self, version: str, label: str) -> None:
        result = Result(version, _commit(), note=vllm_environment.note(version))
        self.results.append(result)
        try:
            with _said(f"{label}: environment"):
                venv = vllm_environment.make_environment(version, self.newest_sdk)
            if not self.only_environment:
                self._run(version, venv, result, label)
        except (NotToBeHad, subprocess.SubprocessError, OSError) as error:
            result.failed.append(f"{type(error).__name__}: {error}")
            print(f"{label}: {error}", flush=True)
        result.note = vllm_environment.note(version, self.newest_sdk)
        if not self.only_environment:
            version_table.merge([result])

    def _run(self, version: str, venv: Path, result: Result, label: str) -> None:
        if self._pinned_start_s is None and set_up.VENV.exists():
            with _said(f"{label}: a start with the pinned vLLM, to compare with"):
                self._pinned_start_s = _start(set_up.VENV)[0]
        with _said(f"{label}: seams"):
            seams = _seams(venv)
        if seams.returncode:
            print(seams.stdout)
            result.failed.append(f"seams: {_last_line(seams.stdout)}")
            return  # nothing can work then
        with _said(f"{label}: start"):
            result.start_s, log = _start(venv)
        result.flow_control = flow_control(log) or flow_control(seams.stdout)
        result.set_ratio(self._pinned_start_s)
        if result.start_s is None:
            result.failed.append(f"start: {_last_line(log)}")
            return
        for suite, paths in SUITES.items():
            with _said(f"{label}: {suite}"):
                passed, failed, skipped = _test(venv, suite, paths)
            result.passed += passed
            result.failed += failed
            result.skipped = dict(Counter(result.skipped) + skipped)
            print(
                f"{label}: {passed} passed, {len(failed)} failed", *failed, sep="\n  ", flush=True
            )


def _seams(venv: Path) -> subprocess.CompletedProcess[str]:
    """What the worker itself says of this vLLM."""
    usage = _python(venv, "-m", "vllm_worker", "--help").stdout
    command = ["seams"] if "seams" in usage else ["config", "--check"]
    return _python(venv, "-m", "vllm_worker", *command)


def _start(venv: Path) -> tuple[float | None, str]:
    """Starts a worker and ends it; the seconds until jobs could come, if ever, and its log.

    Twice, of which the second counts: the first has to compile what another version has compiled
    otherwise.
    """
    seconds, log = _start_once(venv)
    return (seconds, log) if seconds is None else _start_once(venv)


def _start_once(venv: Path) -> tuple[float | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [venv / "bin" / "python", "handler.py"], cwd=set_up.ROOT, stdout=output,
                stderr=subprocess.STDOUT, env=_environment() | {"PORT": str(_free_port())},
                process_group=0,
            )  # fmt: skip
            try:
                seconds = _wait_until_ready(process, log)
            finally:
                _stop(process)
        return seconds, log.read_text(errors="replace")


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> float | None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        ended = process.poll() is not None
        if said := re.search(r"ready for jobs, ([\d.]+) s after", log.read_text(errors="replace")):
            return float(said[1])
        if ended:
            return None
        time.sleep(0.2)
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM, and what is left of its group by SIGKILL."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        print(f"the worker did not end within {STOP_S} s of SIGTERM", flush=True)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _test(venv: Path, suite: str, paths: list[str]) -> tuple[int, list[str], Counter[str]]:
    """How many tests passed, which failed, how many were skipped and why.

    `snapshot` marks those that compare with what the pinned version is known to have.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        marks = ["-m", "not slow and not snapshot", "-p", "no:cacheprovider"]
        done = _python(venv, "-m", "pytest", "-q", *marks, f"--junitxml={report}", *paths)
        (venv / f"{suite.replace('/', '-')}.log").write_text(done.stdout)
        if not report.exists():
            return 0, [f"{suite}: {_last_line(done.stdout)}"], Counter()
        passed, failed, skipped = counted(report.read_text())
    if done.returncode and not failed:
        failed.append(f"{suite}: exit code {done.returncode}: {_last_line(done.stdout)}")
    return passed, failed, skipped


def counted(report: str) -> tuple[int, list[str], Counter[str]]:
    """How many passed, which failed, and how many were skipped by the reason, by pytest's XML."""
    passed, failed = 0, []
    skipped: Counter[str] = Counter()
    for case in ElementTree.fromstring(report).iter("testcase"):
        kinds = {child.tag: child for child in case}
        if kinds.keys() & {"failure", "error"}:
            module = case.get("classname", "").replace(".", "/")
            failed.append(f"{module}.py::{case.get('name')}" if module else str(case.get("name")))
        elif "skipped" in kinds:
            skipped[kinds["skipped"].get("message", "")] += 1
        else:
            passed += 1
    return passed, list(dict.fromkeys(failed)), skipped


def flow_control(log: str) -> str:
    """The grade of flow control that a log names, if it does."""
    said = re.search(r"flow.control\b[^\n]*?\b(state|collector|interval|off)\b", log, re.I)
    return said[1].lower() if said else ""


def _python(venv: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs to its end with output as text; what runs too long is ended with all that it started."""
    command = [str(venv / "bin" / "python"), *arguments]
    process = subprocess.Popen(
        command, cwd=set_up.ROOT, env=_environment(), text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=SUITE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = f"{process.communicate()[0]}\nended after {SUITE_S} s"
    return subprocess.CompletedProcess(command, process.returncode, output)


def _environment() -> dict[str, str]:
    """The worker of this checkout, which these environments have not installed."""
    return os.environ | {"PYTHONPATH": str(set_up.ROOT / "src")}


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was said"


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=set_up.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@contextmanager
def _said(step: str) -> Iterator[None]:
    print(f"{step} …", flush=True)
    started = time.monotonic()
    yield
    print(f"{step}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
