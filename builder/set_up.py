"""Makes `.venv` with everything that the worker, its tests and its checks need.

Needs nothing but Python 3.11 to 3.13 and a package registry. Installs the CPU build of vLLM when
the machine has no NVIDIA GPU and the CUDA build when it has. When nothing changed since the last
run it does nothing: a stamp in `.venv` holds a digest of all that the set-up depends on.

    python3 builder/set_up.py [--build cpu|cuda] [--packages-only] [--lock]

An image takes the packages only, without those of tests and checks.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "builder" / "requirements"
VENV = ROOT / ".venv"
STAMP = VENV / "set-up.stamp"
UV_VERSION = "0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> None:
    arguments = parse_arguments()
    build = arguments.build or ("cuda" if has_nvidia_gpu() else "cpu")
    if arguments.lock:
        return lock()
    if STAMP.exists() and STAMP.read_text() == digest(build):
        return None
    started = time.monotonic()
    step(f"making .venv with Python {sys.version.split()[0]} and the {build} build of vLLM")
    make_venv(VENV)
    step("installing packages and compiling their bytecode (a few GB and a minute or two)")
    install([build] if arguments.packages_only else [build, "dev"])
    if arguments.packages_only:
        return None
    step("installing the worker itself and compiling bytecode")
    uv("pip", "install", "--no-deps", "--compile-bytecode", "--editable", str(ROOT))
    STAMP.write_text(digest(build))
    step(f"ready after {time.monotonic() - started:.0f} s")
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Makes .venv; does nothing when it is up to date.")
    parser.add_argument("--build", choices=["cpu", "cuda"], help="default: by the machine's GPU")
    parser.add_argument("--packages-only", action="store_true", help="as an image needs it")
    parser.add_argument("--lock", action="store_true", help="resolve the pinned requirements anew")
    return parser.parse_args()


def step(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def digest(build: str) -> str:
    """Of everything whose change calls for a new installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    package = [project["build-system"], project["project"], project["tool"]["hatch"]]
    state = hashlib.sha256(f"{build} {sys.version} {ROOT} {package}".encode())
    for path in [Path(__file__), *sorted(REQUIREMENTS.iterdir())]:
        state.update(path.read_bytes())
    return state.hexdigest()


def make_venv(folder: Path) -> None:
    """A fresh virtual environment that holds the pinned uv, which installs the rest."""
    run(sys.executable, "-m", "venv", "--clear", str(folder))
    run(str(folder / "bin" / "pip"), "install", "--quiet", f"uv=={UV_VERSION}")


def install(locks: list[str]) -> None:
    """Installs lock files as they stand.

    The CPU wheel of torch is on no ordinary index. Where pip's own settings name a folder with
    wheels, it is looked for there; elsewhere uv knows the index of PyTorch's CPU builds.
    """
    pinned = [word for lock in locks for word in ("-r", str(REQUIREMENTS / f"{lock}.txt"))]
    command = ["pip", "install", "--no-deps", "--compile-bytecode", *pinned]
    if "cpu" not in locks:
        return uv(*command)
    try:
        return uv(*command, *find_links())
    except subprocess.CalledProcessError:
        step("the CPU wheel of torch is not in the configured sources: trying PyTorch's index")
        return uv(*command, "--torch-backend=cpu")


def lock() -> None:
    """Writes the lock files from the `.in` files, for every supported Python at once."""
    overrides = ["--override", "overrides.txt"]
    with tempfile.TemporaryDirectory() as folder:
        make_venv(Path(folder))
        for name, options in {
            "cpu": [*overrides, "--override", "overrides-cpu.txt", *find_links()],
            "cuda": overrides,
            "dev": [],
        }.items():
            step(f"locking {name}.txt")
            compile_lock(Path(folder), name, *options)
        step("locking image.txt")
        compile_lock(Path(folder), "image", *overrides)
    leave_out_what_vllm_brings()


def compile_lock(venv: Path, name: str, *options: str) -> None:
    oldest = ".".join(map(str, OLDEST))
    plain = ["--quiet", "--no-header", "--no-annotate", "--no-emit-find-links", "--upgrade"]
    uv("pip", "compile", "--universal", "--python-version", oldest, *plain, *options,
       f"{name}.in", "-o", f"{name}.txt", venv=venv, folder=REQUIREMENTS)  # fmt: skip


def leave_out_what_vllm_brings() -> None:
    """image.txt: of the pins for CUDA, those that vLLM's own image need not have.

    image.in asks for plain vLLM, and so its lock is what that image has.
    """
    given = set((REQUIREMENTS / "image.txt").read_text().splitlines())
    pinned = (REQUIREMENTS / "cuda.txt").read_text().splitlines()
    added = [line for line in pinned if line not in given]
    (REQUIREMENTS / "image.txt").write_text("\n".join(added) + "\n")


def find_links() -> list[str]:
    """pip reads PIP_FIND_LINKS by itself, uv does not."""
    places = os.environ.get("PIP_FIND_LINKS", "").split()
    return [part for place in places for part in ("--find-links", place)]


def uv(*arguments: str, venv: Path = VENV, folder: Path = ROOT) -> None:
    environment = os.environ | {"VIRTUAL_ENV": str(venv)}
    run(str(venv / "bin" / "uv"), *arguments, folder=folder, environment=environment)


def run(*command: str, folder: Path = ROOT, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"set-up: Python 3.11, 3.12 or 3.13 is needed, python3 is {version}")
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"set-up: failed at: {' '.join(map(str, error.cmd))}")
