"""A model that is in Hugging Face's cache."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.support.cached_models import put_model
from vllm_worker.configuration import Configuration, load_configuration


def load(**environ: str) -> Configuration:
    return load_configuration({"MODEL_NAME": "org/model"} | environ)


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a volume that refuses to be written to, without a mount."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("vllm_worker.configuration.volume.tempfile.TemporaryFile", refuse)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(
    ("ref", "revision", "found"),
    [
        ("main", "", "bbb"),
        ("main", "bbb", "bbb"),
        ("v1", "v1", "bbb"),
        ("v1", "v2", None),
        ("main", "v1", None),
        ("", "", "aaa"),  # no note of which commit main is: the newest
    ],
)
def test_the_revision_that_is_asked_for_is_read(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    ref: str,
    revision: str,
    found: str | None,
    writable: bool,
) -> None:
    if not writable:
        request.getfixturevalue("unwritable")
    folders = {commit: put_model(tmp_path, commit=commit) for commit in ("bbb", "aaa")}
    os.utime(folders["aaa"], (2e9, 2e9))
    if ref:
        note = folders["bbb"].parents[1] / "refs" / ref
        note.parent.mkdir()
        note.write_text("bbb")
    configuration = load(BASE_PATH=str(tmp_path), MODEL_REVISION=revision)
    assert configuration.model == (str(folders[found]) if found else "org/model")


def test_a_download_that_was_cut_off_is_not_read(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path, weights="model-00001-of-00002.safetensors")
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"
    second = snapshot / "model-00002-of-00002.safetensors"
    second.symlink_to("../../blobs/not-there-yet")
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"
    second.unlink()
    second.touch()
    assert load(BASE_PATH=str(tmp_path)).model == str(snapshot)
    for needed in ("config.json", "tokenizer.json"):
        (snapshot / needed).rename(tmp_path / needed)
        assert load(BASE_PATH=str(tmp_path)).model == "org/model"
        (tmp_path / needed).rename(snapshot / needed)


def test_a_model_is_found_in_a_cache_that_lower_cased_its_name(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path)
    configuration = load(MODEL_NAME="Org/Model", BASE_PATH=str(tmp_path))
    assert configuration.model == str(snapshot)
    assert configuration.settings.served_model_names == ["Org/Model"]
    assert load(BASE_PATH=str(tmp_path)).model == str(snapshot)


@pytest.mark.usefixtures("unwritable")
def test_it_is_found_there_too_where_nothing_can_be_written(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path)
    assert load(MODEL_NAME="Org/Model", BASE_PATH=str(tmp_path)).model == str(snapshot)


def test_a_tokenizer_of_its_own_is_found_there_too(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path, "org/words", weights="tokenizer.json")
    found = load(BASE_PATH=str(tmp_path), TOKENIZER_NAME="org/words").values["TOKENIZER_NAME"]
    assert found.text == str(snapshot)
    elsewhere = load(BASE_PATH=str(tmp_path), TOKENIZER_NAME="org/others")
    assert elsewhere.values["TOKENIZER_NAME"].text == "org/others"


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        # gpt-oss counts its parts from 0.
        (["model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors",
          "model-00002-of-00002.safetensors"], True),
        (["model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"], False),
    ],
)  # fmt: skip
def test_the_index_says_what_belongs_to_a_model(
    tmp_path: Path, files: list[str], whole: bool
) -> None:
    snapshot = put_model(tmp_path, weights=files[0])
    names = [f"model-0000{n}-of-00002.safetensors" for n in range(3)]
    index = {"weight_map": {f"layer{n}": name for n, name in enumerate(names)}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    for file in files[1:]:
        (snapshot / file).touch()
    assert load(BASE_PATH=str(tmp_path)).model == (str(snapshot) if whole else "org/model")


@pytest.mark.parametrize("index", ["", "{", "[]", '{"weight_map": {"a": ["b"]}}', "[" * 10_000])
def test_an_index_that_cannot_be_read_makes_no_model(tmp_path: Path, index: str) -> None:
    snapshot = put_model(tmp_path)
    (snapshot / "model.safetensors.index.json").write_text(index)
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"


@pytest.mark.parametrize("extra", ["training_args.bin", "optimizer.pt"])
def test_files_that_are_no_weights_make_no_model(tmp_path: Path, extra: str) -> None:
    snapshot = put_model(tmp_path, weights=extra)
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"
    (snapshot / "model.safetensors").touch()
    assert load(BASE_PATH=str(tmp_path)).model == str(snapshot)


def test_another_format_needs_its_own_weights(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path)
    mistral = {"BASE_PATH": str(tmp_path), "LOAD_FORMAT": "mistral"}
    assert load(**mistral).model == "org/model"
    (snapshot / "consolidated-00001-of-00002.safetensors").touch()
    assert load(**mistral).model == "org/model"
    (snapshot / "consolidated-00002-of-00002.safetensors").touch()
    assert load(**mistral).model == str(snapshot)
    (snapshot / "config.json").rename(snapshot / "params.json")
    assert load(**mistral).model == str(snapshot)


def test_a_branch_is_not_taken_for_the_default_one(tmp_path: Path) -> None:
    beta = put_model(tmp_path, commit="bbb")
    (beta.parents[1] / "refs").mkdir()
    (beta.parents[1] / "refs/beta").write_text("bbb")
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"
    assert load(BASE_PATH=str(tmp_path), MODEL_REVISION="beta").model == str(beta)


@pytest.mark.parametrize("method", ["iterdir", "read_text", "glob"])
def test_a_disk_in_trouble_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    snapshot = put_model(tmp_path)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("abc")
    working = getattr(Path, method)

    def fail(self: Path, *arguments: object) -> object:
        if "models--" in str(self):
            raise OSError(errno.EIO, "Input/output error")
        return working(self, *arguments)

    monkeypatch.setattr(Path, method, fail)
    assert load(BASE_PATH=str(tmp_path)).model in ("org/model", str(snapshot))


def test_a_newer_commit_that_is_not_there_whole_waits(tmp_path: Path) -> None:
    whole = put_model(tmp_path, commit="aaa")
    part = put_model(tmp_path, commit="bbb", weights="model-00001-of-00002.safetensors")
    (part.parents[1] / "refs").mkdir()
    (part.parents[1] / "refs/main").write_text("bbb")
    assert load(BASE_PATH=str(tmp_path)).model == str(whole)
    assert load(BASE_PATH=str(tmp_path), MODEL_REVISION="bbb").model == "org/model"


def test_who_may_expect_a_newer_commit_is_told(tmp_path: Path) -> None:
    put_model(tmp_path, commit="0123456789abcdef")
    (note,) = load(BASE_PATH=str(tmp_path)).notes
    assert "org/model is read from Hugging Face's cache, commit 0123456" in note
    commit = "0123456789abcdef0123456789abcdef01234567"
    put_model(tmp_path, commit=commit)
    assert load(BASE_PATH=str(tmp_path), MODEL_REVISION=commit).notes == ()


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("HF_HUB_CACHE", "huggingface-cache/hub"),
        ("HF_HOME", "huggingface-cache"),
    ],
)
def test_the_folder_of_the_libraries_is_looked_into_too(
    tmp_path: Path, variable: str, folder: str
) -> None:
    snapshot = put_model(tmp_path)
    for text in (str(tmp_path / folder), f'"{tmp_path / folder}"'):  # as from an env file
        assert load(BASE_PATH="/no/volume", **{variable: text}).model == str(snapshot)
    caches = tmp_path / "caches"
    caches.mkdir()
    (caches / "huggingface").symlink_to(tmp_path / "huggingface-cache")
    assert load(XDG_CACHE_HOME=str(caches)).model.startswith(str(caches))


def test_a_home_that_is_somebody_elses_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    working = Path.is_dir

    def refuse(self: Path) -> bool:
        if "huggingface" in str(self):
            raise PermissionError(errno.EACCES, "Permission denied")
        return working(self)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert load().model == "org/model"


def test_with_a_tokenizer_of_its_own_a_model_needs_none(tmp_path: Path) -> None:
    snapshot = put_model(tmp_path)
    (snapshot / "tokenizer.json").unlink()
    assert load(BASE_PATH=str(tmp_path)).model == "org/model"
    assert load(BASE_PATH=str(tmp_path), TOKENIZER_NAME="org/words").model == str(snapshot)
    for text, found in (("1", str(snapshot)), ("0", "org/model")):
        assert load(BASE_PATH=str(tmp_path), SKIP_TOKENIZER_INIT=text).model == found
