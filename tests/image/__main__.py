"""`make test-image`: builds the Dockerfile's images for real, runs them, and searches them.

No registry of images is needed: the base is made by debootstrap. Needs root on Debian, buildah and
debootstrap (installed when they are missing), and some 45 GB of disk while it runs.

    .venv/bin/python -m tests.image [cpu | gpu]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.image.gpu import try_gpu_image
from tests.image.images import ROOT, Store, fail, run, run_apart, say, step

MODEL = ROOT / "src" / "vllm_worker" / "demo_model"
TOKEN = "hf_planted_secret_0123456789"
IMAGES = {
    "vllm-worker:cpu": ["--target=cpu"],
    "vllm-worker:baked": [
        "--target=baked", "--build-arg=BAKE_ON=cpu", "--build-arg=MODEL_NAME=/models/local",
        f"--build-context=model={MODEL}",
    ],
}  # fmt: skip


def main(kinds: list[str]) -> None:
    if os.geteuid() != 0:
        fail("needs root, for buildah's chroot isolation")
    say(f"{shutil.disk_usage(_scratch()).free / 1e9:.0f} GB of disk are free")
    _install_tools()
    with tempfile.TemporaryDirectory(prefix="test-image-", dir=_scratch()) as folder:
        store = Store(Path(folder))
        with step("base made by debootstrap"):
            _make_base(store)
        if "cpu" in kinds:
            _try_cpu_images(store)
        if "gpu" in kinds:
            try_gpu_image(store)
    say("passed")


def _try_cpu_images(store: Store) -> None:
    secret = store.folder / "HF_TOKEN"
    secret.write_text(TOKEN)
    for name, options in IMAGES.items():
        given = [*options, f"--secret=id=HF_TOKEN,src={secret}"]
        with step(f"{name} built"):
            store.build(name, *given, "--build-arg=CPU_BASE_IMAGE=localhost/test-base")
        with (
            step(f"{name} started, asked without a network, and stopped"),
            store.mounted(name) as (mount, command),
        ):
            asking = [sys.executable, "-m", "tests.image.ask", command.folder]
            run_apart(mount, *asking, *command.words)
    with step("secret searched for"):
        _search(store)
    for name in reversed(IMAGES):
        store.remove(name)


def _install_tools() -> None:
    packages = {"buildah": "buildah", "debootstrap": "debootstrap", "ip": "iproute2"}
    if missing := [package for tool, package in packages.items() if not shutil.which(tool)]:
        run("apt-get", "update", "--quiet")
        run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing)


def _make_base(store: Store) -> None:
    """What an official slim Python image has, as far as the Dockerfile needs it."""
    base = store.folder / "base"
    packages = "python3,python3-venv,python3-pip,ca-certificates"
    options = ["--variant=minbase", f"--include={packages}"]
    run("debootstrap", *options, "bookworm", str(base), *_mirror())
    for file in ("etc/apt/sources.list.d/debian.sources", "etc/apt/sources.list"):
        if Path("/", file).exists():
            shutil.copy(Path("/", file), base / file)
    container = store.buildah("from", "scratch")
    store.buildah("add", "--quiet", container, str(base), "/")
    store.buildah("commit", "--quiet", "--rm", container, "test-base")
    shutil.rmtree(base)


def _mirror() -> list[str]:
    """Where this machine takes its packages from; debootstrap knows a place of its own."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    sites = [line for line in done.stdout.splitlines() if line.rstrip("/").endswith("/debian")]
    return sites[:1]


def _search(store: Store) -> None:
    """The planted token must be in no layer, history or environment of any image."""
    folder = store.folder / "store"
    command = ["grep", "--recursive", "--files-with-matches", TOKEN, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.stdout:
        fail(f"the secret is in the image: {found.stdout}")
    searched = sum(1 for _ in folder.rglob("*"))
    say(f"the secret is in none of {searched} files of layers and metadata")


def _scratch() -> Path:
    return Path(os.environ.get("TMPDIR", "/var/tmp"))


if __name__ == "__main__":
    try:
        main(sys.argv[1:] or ["cpu", "gpu"])
    except subprocess.CalledProcessError as error:
        fail(f"failed at: {' '.join(map(str, error.cmd[:12]))} …")
