"""What the worker makes of BASE_PATH: no volume, a read-only one, a full one."""

import errno
from pathlib import Path

import pytest

from tests.support.cached_models import put_model
from tests.support.mounts import read_only, small
from vllm_worker.configuration import Configuration, cache_location, load_configuration
from vllm_worker.configuration.volume import cache_folder, inspect

ON_RUNPOD = {"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1/job-take/$ID"}


def load(**environ: str) -> Configuration:
    return load_configuration({"MODEL_NAME": "org/model"} | environ)


# The states of a volume


def test_a_volume_that_can_be_written_to_is_where_models_are_kept(tmp_path: Path) -> None:
    configuration = load(BASE_PATH=str(tmp_path), **ON_RUNPOD)
    assert configuration.library_env["HF_HOME"] == str(tmp_path / "huggingface-cache")
    assert configuration.notes == ()
    assert list(tmp_path.iterdir()) == []


def test_without_a_volume_the_defaults_of_the_libraries_stay() -> None:
    configuration = load(**ON_RUNPOD)
    (note,) = configuration.notes
    assert "no network volume at /runpod-volume" in note
    assert "Attach a volume" in note
    assert not {"HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR"} & configuration.library_env.keys()
    assert configuration.compile_cache is None


def test_no_volume_is_no_surprise_off_runpod_or_where_nothing_is_downloaded() -> None:
    assert load().notes == ()
    assert load(MODEL_NAME="demo", **ON_RUNPOD).notes == ()


def test_a_folder_that_is_not_there_is_made_by_whoever_writes_to_it_first(tmp_path: Path) -> None:
    configuration = load(BASE_PATH=str(tmp_path / "new"))
    assert configuration.library_env["HF_HOME"] == str(tmp_path / "new/huggingface-cache")
    assert configuration.notes == ()
    assert cache_folder(str(tmp_path / "new")) == tmp_path / "new/huggingface-cache"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    configuration = load(BASE_PATH=str(tmp_path / "link"))
    (note,) = configuration.notes
    assert "is no folder and cannot be made" in note
    assert "HF_HOME" not in configuration.library_env
    assert cache_folder(str(tmp_path / "link")) is None


def test_a_folder_in_the_platforms_volume_needs_that_volume() -> None:
    for base_path in ("/runpod-volume/", "/runpod-volume/models/mine"):
        (note,) = load(BASE_PATH=base_path, **ON_RUNPOD).notes
        assert note.startswith("There is no network volume at /runpod-volume")


def test_a_folder_below_one_that_is_not_there_is_made_too(tmp_path: Path) -> None:
    configuration = load(BASE_PATH=str(tmp_path / "a/b/c"))
    assert configuration.notes == ()
    assert configuration.library_env["HF_HOME"] == str(tmp_path / "a/b/c/huggingface-cache")


def test_a_read_only_volume_is_read_from(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path)
    with read_only(tmp_path):
        configuration = load(BASE_PATH=str(tmp_path))
        note, _ = configuration.notes
        elsewhere = load(MODEL_NAME="org/other", BASE_PATH=str(tmp_path))
    assert configuration.model == str(snapshot)
    assert configuration.settings.served_model_names == ["org/model"]
    assert "cannot be written to (Read-only file system): the model is read from there" in note
    assert "HF_HOME" not in configuration.library_env
    assert configuration.compile_cache
    assert not configuration.compile_cache.keep
    assert elsewhere.model == "org/other"
    assert "each worker downloads the model to its container" in elsewhere.notes[0]


@pytest.mark.parametrize(("size", "says"), [("512k", "is full"), ("64m", "has only 64 MiB left")])
def test_a_full_volume_is_read_from(tmp_path: Path, size: str, says: str) -> None:
    with small(tmp_path, size):
        snapshot = put_model(tmp_path)
        configuration = load(BASE_PATH=str(tmp_path))
        elsewhere = load(MODEL_NAME="org/other", BASE_PATH=str(tmp_path))
    assert configuration.model == str(snapshot)
    assert says in configuration.notes[0]
    assert "Make room on the volume" in configuration.notes[0]
    assert elsewhere.model == "org/other"
    assert "HF_HOME" not in elsewhere.library_env


def test_a_mount_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Path, **_: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "stat", gone)
    assert not (volume := inspect("/mnt/gone")).there
    assert volume.problem == "cannot be reached (Transport endpoint is not connected)"


# Where compilers write


def test_compilers_write_to_a_local_folder_by_version_machine_and_model(tmp_path: Path) -> None:
    base = tmp_path / "volume"
    configuration = load(BASE_PATH=str(base), XDG_CACHE_HOME=str(tmp_path / "home"))
    cache = configuration.compile_cache
    assert cache
    assert cache.keep
    version, machine, model = cache.folder.relative_to(tmp_path / "home/vllm-worker").parts
    assert version.startswith("0.32.0")
    assert machine
    assert model == "org--model"
    assert cache.archive == base / f"vllm-worker-cache/{version}/{machine}/org--model.tar"
    assert configuration.library_env["VLLM_CACHE_ROOT"] == str(cache.folder / "vllm")
    assert configuration.library_env["TRITON_CACHE_DIR"] == str(cache.folder / "triton")


@pytest.mark.parametrize("mounted", [True, False])
def test_on_runpod_only_a_mounted_folder_keeps_what_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    device = {Path("/"): 1}
    monkeypatch.setattr(
        "vllm_worker.configuration.volume._device", lambda path: device.get(path, 1 + mounted)
    )
    cache = load(BASE_PATH=str(tmp_path), **ON_RUNPOD).compile_cache
    assert cache
    assert cache.keep == mounted


def test_a_gpu_of_unknown_kind_shares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    monkeypatch.setattr(cache_location, "_asked_of_the_driver", list)
    configuration = load(BASE_PATH=str(tmp_path), **ON_RUNPOD)
    assert configuration.compile_cache is None
    assert "not shared with other workers" in configuration.notes[-1]


def test_variables_of_the_configuration_file_win(tmp_path: Path) -> None:
    ours = {"HF_HOME": "/mine", "VLLM_CACHE_ROOT": "/my/cache"}
    file = tmp_path / "worker.yaml"
    file.write_text(f"default: {{environment: {ours}}}")
    library_env = load(BASE_PATH=str(tmp_path), WORKER_CONFIG_FILE=str(file)).library_env
    assert ours.items() <= library_env.items()


def test_without_a_gpu_nothing_is_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().library_env["VLLM_USE_AOT_COMPILE"] == "0"
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert "VLLM_USE_AOT_COMPILE" not in load().library_env


def test_tokenizers_do_not_start_a_thread_for_each_core_of_a_large_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 256)
    configuration = load()
    assert configuration.library_env["RAYON_NUM_THREADS"] == "8"
    environment = {"RAYON_NUM_THREADS": "32"}
    configuration.export(environment)
    assert environment["RAYON_NUM_THREADS"] == "32"
