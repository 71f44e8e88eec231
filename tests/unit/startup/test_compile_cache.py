"""The archive of compiled code: whole or not there, whoever writes and whatever happens to them."""

import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.mounts import small
from vllm_worker.configuration.cache_location import CacheLocation, machine
from vllm_worker.startup.compile_cache import CompileCache

CUBIN = "triton/key/kernel.cubin"


def cache(folder: Path, volume: Path, keep: bool = True) -> CompileCache:
    """That of a container whose files are in `folder`."""
    return CompileCache(CacheLocation(folder / "model", volume / "cache/model.tar", keep))


def compile_something(cache: CompileCache, file: str = CUBIN, content: bytes = b"code") -> None:
    path = cache.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def compiled(cache: CompileCache) -> dict[str, bytes]:
    files = (path for path in cache.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(cache.folder)): path.read_bytes() for path in files}


@pytest.fixture
def first(tmp_path: Path) -> CompileCache:
    """A worker that has compiled one kernel and kept it."""
    first = cache(tmp_path / "first", tmp_path)
    first.load()
    compile_something(first)
    first.save()
    return first


@pytest.fixture
def second(tmp_path: Path, first: CompileCache) -> CompileCache:
    """A worker after it, in a container of its own, which has read that."""
    second = cache(tmp_path / "second", tmp_path)
    second.load()
    return second


def test_the_second_worker_has_what_the_first_one_compiled(second: CompileCache) -> None:
    assert compiled(second) == {CUBIN: b"code"}


def test_nothing_is_written_where_nothing_is_new(second: CompileCache) -> None:
    before = second.archive.stat().st_ino
    second.save()
    assert second.archive.stat().st_ino == before


def test_what_is_new_joins_what_was_there(tmp_path: Path, second: CompileCache) -> None:
    compile_something(second, "vllm/model", b"more code")
    second.save()
    third = cache(tmp_path / "third", tmp_path)
    third.load()
    assert compiled(third) == {CUBIN: b"code", "vllm/model": b"more code"}


def test_a_container_that_starts_again_keeps_its_own(second: CompileCache) -> None:
    compile_something(second, content=b"newer")
    second.load()
    assert compiled(second) == {CUBIN: b"newer"}


def test_a_volume_that_may_not_be_written_is_only_read(tmp_path: Path, first: CompileCache) -> None:
    reader = cache(tmp_path / "reader", tmp_path, keep=False)
    reader.load()
    assert compiled(reader) == {CUBIN: b"code"}
    compile_something(reader, "vllm/model")
    before = first.archive.read_bytes()
    reader.save()
    assert first.archive.read_bytes() == before


def test_what_holds_for_one_machine_or_one_process_is_not_shared(
    tmp_path: Path, first: CompileCache
) -> None:
    compile_something(first, "vllm/gpu_p2p_access_cache_for_0,1.json")
    compile_something(first, "inductor/locks/key.lock")
    compile_something(first, "vllm/model.77.tmp")
    compile_something(first, "vllm/model")
    first.save()
    reader = cache(tmp_path / "reader", tmp_path)
    reader.load()
    assert compiled(reader).keys() == {CUBIN, "vllm/model"}


@pytest.mark.parametrize("size", [0, 100, 1000, 1537])
def test_an_archive_that_cannot_be_read_leaves_nothing_and_is_replaced(
    tmp_path: Path, first: CompileCache, size: int, worker_log: pytest.LogCaptureFixture
) -> None:
    whole = first.archive.read_bytes()
    first.archive.write_bytes(whole[:size])
    reader = cache(tmp_path / "reader", tmp_path)
    reader.load()
    assert list((tmp_path / "reader").glob("*")) == []
    assert "cannot be read, so everything is compiled again" in worker_log.text
    compile_something(reader)
    reader.save()
    assert len(first.archive.read_bytes()) == len(whole)


def test_a_volume_that_fills_up_keeps_the_old_archive(
    tmp_path: Path, worker_log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "volume").mkdir()
    with small(tmp_path / "volume", "256k"):
        worker = cache(tmp_path / "worker", tmp_path / "volume")
        compile_something(worker)
        worker.save()
        before = worker.archive.read_bytes()
        compile_something(worker, "vllm/model", bytes(300_000))
        worker.save()
        assert "cannot be saved to the volume: [Errno 28] No space left" in worker_log.text
        assert worker.archive.read_bytes() == before
        assert list(worker.archive.parent.iterdir()) == [worker.archive]


def test_parts_of_workers_that_were_killed_are_removed(first: CompileCache) -> None:
    old, new = (first.archive.with_name(f"model.tar.{name}.part") for name in ("old", "new"))
    for part in (old, new):
        part.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    compile_something(first, "vllm/model")
    first.save()
    assert not old.exists()
    assert new.exists()


def test_readers_find_one_writers_archive_whole_while_several_write(tmp_path: Path) -> None:
    writers = [cache(tmp_path / f"writer{number}", tmp_path) for number in range(2)]
    for number, writer in enumerate(writers):
        for file in range(20):
            compile_something(writer, f"triton/{file}", b"%d" % number * 50_000)
        writer.save()
    stop = threading.Event()

    def write_again_and_again(writer: CompileCache) -> None:
        while not stop.is_set():
            writer._known = set()  # as a worker that has read nothing
            writer.save()

    threads = [threading.Thread(target=write_again_and_again, args=(w,)) for w in writers]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            reader = cache(tmp_path / f"reader{number}", tmp_path)
            reader.load()
            files = compiled(reader)
            assert len(files) == 20
            assert len(set(files.values())) == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_full_archive_drops_what_no_start_has_used_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    writer = cache(tmp_path / "writer", tmp_path)
    for number in range(4):
        compile_something(writer, f"triton/{number}", bytes(100))
        age = time.time() - 1000 + number
        os.utime(writer.folder / f"triton/{number}", (age, age))
    writer.save()
    reader = cache(tmp_path / "reader", tmp_path)
    reader.load()
    now = time.time()
    os.utime(reader.folder / "triton/0", (now, now - 1000))  # read, but not written
    compile_something(reader, "triton/new", bytes(100))
    monkeypatch.setattr("vllm_worker.startup.compile_cache._LARGEST_BYTES", 350)
    reader.save()
    assert "the archive of compiled code is full: 3 of 5 files are kept" in worker_log.text
    last = cache(tmp_path / "last", tmp_path)
    last.load()
    assert compiled(last).keys() == {"triton/0", "triton/3", "triton/new"}


def test_what_is_too_large_for_an_archive_is_not_saved_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vllm_worker.startup.compile_cache._LARGEST_BYTES", 150)
    worker = cache(tmp_path / "worker", tmp_path)
    for number in range(2):
        compile_something(worker, f"triton/{number}", bytes(100))
    worker.save()
    assert "cannot be saved to the volume: [Errno 27] more than" in worker_log.text
    assert not worker.archive.exists()


def test_a_save_in_the_background_is_there_in_the_end(tmp_path: Path) -> None:
    worker = cache(tmp_path / "worker", tmp_path)
    compile_something(worker)
    worker.save_soon()
    for thread in threading.enumerate():
        if thread.name == "saves the compile cache":  # unless it has ended already
            thread.join(10)
    assert worker.archive.exists()


def test_the_machine_is_known_without_cuda(tmp_path: Path) -> None:
    for number in range(2):
        gpu = tmp_path / f"driver/nvidia/gpus/0000:0{number}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text("Model: \t\t NVIDIA L4\nIRQ:   \t 42\n")
    assert machine(2, tmp_path) == "NVIDIA-L4"


def test_a_driver_that_is_hidden_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine(2, tmp_path) == ""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA L4\necho NVIDIA L4\n")
    smi.chmod(0o755)
    assert machine(2, tmp_path) == "NVIDIA-L4"
    smi.write_text("#!/bin/sh\necho NVIDIA L4\nexit 9\n")
    assert machine(2, tmp_path) == ""


def test_cpus_with_other_instructions_are_other_machines(tmp_path: Path) -> None:
    def kind(flags: str) -> str:
        (tmp_path / "cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n" * 2)
        return machine(0, tmp_path)

    assert kind("avx2").startswith("A-CPU-")
    assert kind("avx2") == kind("avx2") != kind("avx2 avx512f")
