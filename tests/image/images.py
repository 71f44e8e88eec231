"""Buildah with a store of its own, and what is done with its images."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Command:
    """What starts in a container: the words, and the folder they start in."""

    words: list[str]
    folder: str


@dataclass(frozen=True)
class Store:
    """Images and containers in a folder."""

    folder: Path

    def buildah(self, *arguments: str, quiet: bool = True) -> str:
        """What it prints, or nothing when it prints for itself."""
        options = [f"--root={self.folder / 'store'}", f"--runroot={self.folder / 'run'}"]
        command = ["buildah", *options, "--storage-driver=vfs", *arguments]
        output = subprocess.PIPE if quiet else None
        done = subprocess.run(command, stdout=output, text=True, check=True)
        return (done.stdout or "").strip()

    def build(self, name: str, *options: str, context: Path = ROOT) -> None:
        given = [*options, "--isolation=chroot", "--format=docker"]
        # The registry that this machine is set up for, and wheels that it does not have.
        for file in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
            if Path(file).exists():
                given.append(f"--volume={file}:{file}:ro")
        wheels = os.environ.get("PIP_FIND_LINKS", "")
        if wheels and Path(wheels).is_dir():
            given.append(f"--build-context=wheels={wheels}")
        self.buildah("build", f"--tag={name}", *given, str(context), quiet=False)
        say(f"{name}: {self._size(name) / 1e9:.2f} GB")

    @contextmanager
    def mounted(self, name: str) -> Iterator[tuple[Path, Command]]:
        """A container's files, and a command that runs the image's own where there is no network
        but the container's loopback.
        """
        container = self.buildah("from", name)
        mount = self.buildah("mount", container)
        config = json.loads(self.buildah("inspect", "--type=image", name))["OCIv1"]["config"]
        given = [*config.get("Env", []), *config.get("Cmd", [])]  # a base may have none
        inside = ["chroot", mount, "env", "-i", *given]
        yield Path(mount), Command(inside, config.get("WorkingDir", "/"))
        self.buildah("rm", container)

    def remove(self, name: str) -> None:
        self.buildah("rmi", name)

    def _size(self, name: str) -> float:
        (image,) = json.loads(self.buildah("images", "--json", name))
        size = image["size"]
        if isinstance(size, int):
            return size
        number, unit = size.split()
        return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def run_apart(mount: Path, *command: str) -> None:
    """Run a command in namespaces of its own, with the system's folders in the container."""
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    mounts = "".join(f" && mount --rbind /{name} {mount}/{name}" for name in ("proc", "dev", "sys"))
    run(*apart, "sh", "-c", f'ip link set lo up{mounts} && exec "$@"', "sh", *command)


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def fail(text: str) -> None:
    sys.exit(f"test-image: {text}")


@contextmanager
def step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"{name} in {time.monotonic() - started:.0f} s")


def say(text: str) -> None:
    print(f"test-image: {text}", flush=True)
