"""Reads single files of a wheel in a package index without downloading the wheel.

The CUDA build of vLLM has hundreds of MB, of which its Python is a tenth.
"""

import io
import ssl
import urllib.request
import zipfile
from pathlib import Path

BLOCK = 1 << 20
TIMEOUT_S = 60


class RangesNotServed(Exception):
    """The index answers with the whole file."""


class RemoteFile(io.RawIOBase):
    """A file behind a URL, fetched in blocks as they are read; keeps the last few."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self._size = int(self._range(0, 0)[1].rpartition("/")[2])

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        number, start = divmod(self._at, BLOCK)
        data = self._block(number)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        start = number * BLOCK
        if start >= self._size:
            return b""
        if number not in self._blocks:
            if len(self._blocks) == 4:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = self._range(start, min(start + BLOCK, self._size) - 1)[0]
        return self._blocks[number]

    def _range(self, first: int, last: int) -> tuple[bytes, str]:
        """These bytes, and the header that says which they are and of how many."""
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={first}-{last}"})
        context = ssl.create_default_context()
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
            if answer.status != 206:
                raise RangesNotServed(self._url)
            return answer.read(), answer.headers["Content-Range"]


def open_wheel(url: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BufferedReader(RemoteFile(url), 1 << 16))


def requirements(wheel: zipfile.ZipFile) -> list[str]:
    """What its metadata asks for."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    lines = wheel.read(name).decode().partition("\n\n")[0].splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


def extract(wheel: zipfile.ZipFile, names: list[str], folder: Path) -> None:
    """In the order in which they lie in the file, so that each block is fetched once."""
    for name in sorted(names, key=lambda name: wheel.getinfo(name).header_offset):
        wheel.extract(name, folder)
