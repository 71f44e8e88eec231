"""How much memory is left to this container."""

from contextlib import suppress
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat",
     "total_inactive_file"),
)  # fmt: skip
"""Of cgroups' second and first version: limit, use, statistics, and the name in these of the page
cache that makes room when memory is wanted."""


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """The machine's available memory, or less where the container has a limit of its own."""
    available: int = psutil.virtual_memory().available
    for limit, use, statistics, reclaimable in _FILES:
        with suppress(OSError, ValueError):  # of the other version, or without a limit ("max")
            allowed = int((cgroup / limit).read_text())
            lines = (line.split() for line in (cgroup / statistics).read_text().splitlines())
            cache = int(dict(lines)[reclaimable])
            left = allowed - int((cgroup / use).read_text()) + cache
            available = min(available, max(left, 0))
    return available
