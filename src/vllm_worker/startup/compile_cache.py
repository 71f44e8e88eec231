"""Compiled code of vLLM and its kernels, saved on the volume for later workers.

Compilers write many small files, some of them in place, and name their temporary ones by the
process's number, which workers in containers have in common. So they work in a local folder, and
the volume has one archive of it, which appears whole or not at all: workers may read and replace it
at the same time, and the last one wins.
"""

import atexit
import errno
import fnmatch
import logging
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from vllm_worker.configuration.cache_location import CacheLocation

logger = logging.getLogger(__name__)

# Which GPUs of a machine reach each other: another machine's may not.
_NOT_SHARED = ("gpu_p2p_access_cache_for_*", "*.lock", "*.tmp")
_EXIT_WAIT_S = 30
_LEFT_BEHIND_S = 3600
_LARGEST_BYTES = 8 * 10**9


class CompileCache:
    """The files in a location's folder, and the archive of them."""

    def __init__(self, location: CacheLocation) -> None:
        self.folder = location.folder
        self.archive = location.archive
        self._keep = location.keep
        self._known: set[Path] = set()

    def load(self) -> None:
        """Fills the folder, unless this container has done so before. Without a readable archive
        nothing is there and everything is compiled."""
        if not self.folder.exists() and self.archive.exists():
            self._load()
        self._known = set(self._files())

    def _load(self) -> None:
        started = time.monotonic()
        staging = self.folder.with_name(f"{self.folder.name}.{uuid4().hex}")
        try:
            with tarfile.open(self.archive) as archive:
                archive.extractall(staging, filter="data")
            staging.rename(self.folder)
        except (OSError, tarfile.TarError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            logger.warning(
                "%s cannot be read, so everything is compiled again: %s", self.archive, error
            )
        else:
            seconds = time.monotonic() - started
            logger.info("compiled code read from %s in %.1f s", self.archive, seconds)

    def save_soon(self) -> None:
        """Saves in the background; the end of the process waits for it, but not for ever."""
        thread = threading.Thread(target=self.save, daemon=True, name="saves the compile cache")
        thread.start()
        atexit.register(thread.join, _EXIT_WAIT_S)

    def save(self) -> None:
        """Replaces the archive, if there is something new. Where that fails, the old one stays."""
        files = self._files()
        nothing_new = self._known.issuperset(files) and self.archive.exists()
        if not self._keep or not files or nothing_new:
            return
        started = time.monotonic()
        part = self.archive.with_name(f"{self.archive.name}.{uuid4().hex}.part")
        try:
            self.archive.parent.mkdir(parents=True, exist_ok=True)
            self._remove_left_behind()
            self._write(part, self._last_used(files))
            size = part.stat().st_size
            part.replace(self.archive)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            logger.warning("compiled code cannot be saved to the volume: %s", error)
        else:
            seconds = time.monotonic() - started
            logger.info("%d MB of compiled code saved in %.1f s", size / 1e6, seconds)

    def _write(self, part: Path, files: Iterable[Path]) -> None:
        with part.open("xb") as output:
            with tarfile.open(fileobj=output, mode="w") as archive:
                for file in files:
                    with suppress(FileNotFoundError):
                        archive.add(self.folder / file, file)
            output.flush()
            os.fsync(output.fileno())

    def _last_used(self, files: list[Path]) -> list[Path]:
        """As many as the archive may hold, those of other configurations left out first: what this
        worker has read or written is newer than what came with the archive.

        Raises OSError where what is new does not fit, as it would be compiled again at each start.
        """
        used, sizes = {}, {}
        for file in files:
            with suppress(FileNotFoundError):
                status = (self.folder / file).stat()
                used[file] = max(status.st_atime, status.st_mtime)
                sizes[file] = status.st_size
        kept: set[Path] = set()
        room = _LARGEST_BYTES
        for file in sorted(used, key=lambda file: used[file], reverse=True):
            room -= sizes[file]
            if room < 0:
                break
            kept.add(file)
        if used.keys() - self._known - kept:
            raise OSError(errno.EFBIG, f"more than {_LARGEST_BYTES / 1e9:g} GB are new")
        if len(kept) < len(used):
            full = "the archive of compiled code is full: %d of %d files are kept"
            logger.info(full, len(kept), len(used))
        return sorted(kept)

    def _files(self) -> list[Path]:
        return [
            path.relative_to(self.folder)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not any(fnmatch.fnmatch(path.name, name) for name in _NOT_SHARED)
        ]

    def _remove_left_behind(self) -> None:
        """Parts of workers that were killed while they wrote."""
        for part in self.archive.parent.glob("*.part"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _LEFT_BEHIND_S:
                    part.unlink()
