"""Limits of containers, as cgroups have them."""

from pathlib import Path

import psutil
import pytest

from vllm_worker.startup.memory import available_bytes

MIB = 1024**2
V2 = {"memory.max": 400, "memory.current": 300, "memory.stat": 50}
V1 = {
    "memory/memory.limit_in_bytes": 400,
    "memory/memory.usage_in_bytes": 300,
    "memory/memory.stat": 50,
}


def cgroup(folder: Path, sizes: dict[str, int]) -> Path:
    """`sizes` are in MiB; of the statistics, that of the cache that makes room."""
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        number = f"{size * MIB}\n"
        if name.endswith("memory.stat"):
            kind = "inactive_file" if "memory.max" in sizes else "total_inactive_file"
            number = f"anon 12\n{kind} {number}file 3\n"
        path.write_text(number)
    return folder


@pytest.mark.parametrize("sizes", [V2, V1], ids=["v2", "v1"])
def test_a_container_has_what_its_limit_leaves(sizes: dict[str, int], tmp_path: Path) -> None:
    assert available_bytes(cgroup(tmp_path, sizes)) == (400 - 300 + 50) * MIB


def test_a_container_above_its_limit_has_nothing(tmp_path: Path) -> None:
    sizes = V2 | {"memory.current": 500, "memory.stat": 0}
    assert available_bytes(cgroup(tmp_path, sizes)) == 0


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n", "?\n"])
def test_without_a_limit_it_has_what_the_machine_has(limit: str, tmp_path: Path) -> None:
    cgroup(tmp_path, V2)
    (tmp_path / "memory.max").write_text(limit)
    machine = psutil.virtual_memory().available
    assert available_bytes(tmp_path) == pytest.approx(machine, rel=0.2)


def test_without_cgroups_too(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().available
    assert available_bytes(tmp_path) == pytest.approx(machine, rel=0.2)
