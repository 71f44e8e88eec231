"""`make test-image`: builds the Dockerfile's CPU images for real, runs them, and searches them.

No registry of images is needed: the base is made by debootstrap. Needs root on Debian, buildah and
debootstrap (installed when they are missing), and some 25 GB of disk while it runs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "src" / "vllm_worker" / "demo_model"
TOKEN = "hf_planted_secret_0123456789"
IMAGES = {
    "vllm-worker:cpu": ["--target", "cpu"],
    "vllm-worker:baked": [
        "--target=baked", "--build-arg=BAKE_ON=cpu", "--build-arg=MODEL_NAME=/models/local",
        f"--build-context=model={MODEL}",
    ],
}  # fmt: skip


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("test-image needs root, for buildah's chroot isolation")
    say(f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB of disk are free")
    _install_tools()
    with tempfile.TemporaryDirectory(prefix="test-image-", dir=_scratch()) as folder:
        store = Path(folder)
        secret = store / "HF_TOKEN"
        secret.write_text(TOKEN)
        with step("base made by debootstrap"):
            _make_base(store)
        for name, options in IMAGES.items():
            with step(f"{name} built"):
                _build(store, name, [*options, f"--secret=id=HF_TOKEN,src={secret}"])
            say(f"{name}: {_size(store, name) / 1e9:.2f} GB")
            with step(f"{name} started, asked without a network, and stopped"):
                _try(store, name)
        with step("secret searched for"):
            _search(store)
    say("passed")


def _install_tools() -> None:
    packages = {"buildah": "buildah", "debootstrap": "debootstrap", "ip": "iproute2"}
    if missing := [package for tool, package in packages.items() if not shutil.which(tool)]:
        run("apt-get", "update", "--quiet")
        run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing)


def _make_base(store: Path) -> None:
    """What an official slim Python image has, as far as the Dockerfile needs it."""
    base = store / "base"
    packages = "python3,python3-venv,python3-pip,ca-certificates"
    options = ["--variant=minbase", f"--include={packages}"]
    run("debootstrap", *options, "bookworm", str(base), *_mirror())
    for file in ("etc/apt/sources.list.d/debian.sources", "etc/apt/sources.list"):
        if Path("/", file).exists():
            shutil.copy(Path("/", file), base / file)
    container = buildah(store, "from", "scratch").strip()
    buildah(store, "add", "--quiet", container, str(base), "/")
    buildah(store, "commit", "--quiet", "--rm", container, "test-base")
    shutil.rmtree(base)


def _mirror() -> list[str]:
    """Where this machine takes its packages from; debootstrap knows a place of its own."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    sites = [line for line in done.stdout.splitlines() if line.rstrip("/").endswith("/debian")]
    return sites[:1]


def _build(store: Path, name: str, options: list[str]) -> None:
    # The registry that this machine is set up for, and wheels that it does not have.
    for file in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(file).exists():
            options.append(f"--volume={file}:{file}:ro")
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if wheels and Path(wheels).is_dir():
        options.append(f"--build-context=wheels={wheels}")
    options += [
        "--isolation=chroot",
        "--format=docker",
        "--build-arg=CPU_BASE_IMAGE=localhost/test-base",
    ]
    buildah(store, "build", f"--tag={name}", *options, str(ROOT), quiet=False)


def _try(store: Path, name: str) -> None:
    """Starts the image's command where there is no network but the container's own."""
    container = buildah(store, "from", name).strip()
    mount = buildah(store, "mount", container).strip()
    config = json.loads(buildah(store, "inspect", "--type=image", name))["OCIv1"]["config"]
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inside = ["chroot", mount, "env", "-i", *config["Env"], *config["Cmd"]]
    mounts = "".join(f" && mount --rbind /{name} {mount}/{name}" for name in ("proc", "dev", "sys"))
    script = f'ip link set lo up{mounts} && exec "$@"'
    asking = [sys.executable, "-m", "tests.image.ask", config.get("WorkingDir", "/"), *inside]
    run(*command, "sh", "-c", script, "sh", *asking)
    buildah(store, "rm", container)


def _search(store: Path) -> None:
    """The planted token must be in no layer, history or environment of any image."""
    command = ["grep", "--recursive", "--files-with-matches", TOKEN, str(store / "store")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.stdout:
        sys.exit(f"the secret is in the image: {found.stdout}")
    searched = sum(1 for _ in (store / "store").rglob("*"))
    say(f"the secret is in none of {searched} files of layers and metadata")


def _size(store: Path, name: str) -> int:
    (image,) = json.loads(buildah(store, "images", "--json", name))
    size = image["size"]
    if isinstance(size, int):
        return size
    number, unit = size.split()
    return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


def buildah(store: Path, *arguments: str, quiet: bool = True) -> str:
    """Buildah with a store of its own; what it prints, or nothing when it prints for itself."""
    options = [f"--root={store / 'store'}", f"--runroot={store / 'run'}", "--storage-driver=vfs"]
    command, output = ["buildah", *options, *arguments], subprocess.PIPE if quiet else None
    done = subprocess.run(command, stdout=output, text=True, check=True)
    return done.stdout or ""


def _scratch() -> Path:
    return Path(os.environ.get("TMPDIR", "/var/tmp"))


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"{name} in {time.monotonic() - started:.0f} s")


def say(text: str) -> None:
    print(f"test-image: {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"test-image: failed at: {' '.join(map(str, error.cmd[:12]))} …")
