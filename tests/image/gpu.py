"""The `gpu` image on a base that stands in for vLLM's own, which is on a registry of images.

The base has the packages of vLLM's image in Python's own folders, as far as the worker's lock file
names them: the real CUDA build of vLLM and PyTorch. There is no GPU, so that the image must end its
start with a line that says so.
"""

import stat
import sys
import tempfile
from pathlib import Path

from builder import add_packages
from tests.image.images import ROOT, Store, fail, run_apart, say, step

BASE = "vllm-worker-base:gpu"
IMAGE = "vllm-worker:gpu"
REQUIREMENTS = ROOT / "builder" / "requirements"
_BASE = """
FROM localhost/test-base
COPY base.txt /tmp/
RUN rm /usr/lib/python3*/EXTERNALLY-MANAGED \
    && pip install --quiet --no-deps --no-cache-dir --root-user-action=ignore -r /tmp/base.txt
"""
_RUNTIME = ("etc/hosts", "etc/resolv.conf")
"""Files that the builder itself puts in a container."""


def try_gpu_image(store: Store) -> None:
    with step(f"{BASE} built"):
        _make_base(store)
    with step(f"{IMAGE} built"):
        store.build(IMAGE, "--target=gpu", f"--build-arg=BASE_IMAGE=localhost/{BASE}")
    with store.mounted(BASE) as (base, _), store.mounted(IMAGE) as (image, command):
        with step("files of the base compared"):
            _compare(base, image)
        with step(f"{IMAGE} started without a GPU"):
            asking = [sys.executable, "-m", "tests.image.start_without_gpu", command.folder]
            run_apart(image, *asking, *command.words)
    store.remove(IMAGE)
    store.remove(BASE)


def _make_base(store: Store) -> None:
    """What the lock of the CUDA build has and the image does not add."""
    added = {pin.name for pin in add_packages.pins(REQUIREMENTS / "image.txt")}
    pins = add_packages.pins(REQUIREMENTS / "cuda.txt")
    with tempfile.TemporaryDirectory() as folder:
        there = "\n".join(f"{pin.name}{pin.specifier}" for pin in pins if pin.name not in added)
        (Path(folder) / "base.txt").write_text(there)
        (Path(folder) / "Dockerfile").write_text(_BASE)
        store.build(BASE, context=Path(folder))


def _compare(base: Path, image: Path) -> None:
    """Everything of the base must be in the image as it was."""
    files = [path.relative_to(base) for path in base.rglob("*") if not path.is_dir()]
    changed = [
        str(file)
        for file in files
        if str(file) not in _RUNTIME and _facts(base / file) != _facts(image / file)
    ]
    if changed:
        fail(f"the image changes files of its base: {', '.join(changed[:10])}")
    say(f"{len(files)} files of the base are unchanged")


def _facts(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode), found.st_size, int(found.st_mtime)
