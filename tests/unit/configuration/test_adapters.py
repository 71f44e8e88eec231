"""LORA_MODULES and the names of models, as far as they can be checked without vLLM."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.configurations import load, problems, write


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Path:
    """An adapter of rank 8, as far as its files can be seen."""
    return make_adapter(tmp_path / "pirate", {"r": 8})


def make_adapter(folder: Path, config: Any) -> Path:
    folder.mkdir()
    if isinstance(config, dict):
        config = {"lora_alpha": 16, "target_modules": ["q_proj"]} | config
    write(folder, "adapter_config.json", config)
    write(folder, "adapter_model.safetensors", "")
    return folder


# What is right


@pytest.mark.parametrize("form", ["pair", "pairs", "object", "list"])
def test_an_adapter_can_be_written_in_each_form(adapter_folder: Path, form: str) -> None:
    adapter = {"name": "pirate", "path": str(adapter_folder), "base_model_name": "org/another"}
    text = {
        "pair": f"pirate={adapter_folder}",
        "pairs": f"pirate={adapter_folder}, team/pirate={adapter_folder}",
        "object": json.dumps(adapter),
        "list": json.dumps([adapter, f"team/pirate={adapter_folder}"]),
    }[form]
    assert load(LORA_MODULES=text).values["LORA_MODULES"].text == text


def test_other_files_of_weights_and_other_folders_will_do(
    adapter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (adapter_folder / "adapter_model.safetensors").rename(adapter_folder / "adapter_model.bin")
    monkeypatch.chdir(adapter_folder.parent)
    monkeypatch.setenv("HOME", str(adapter_folder.parent))
    load(LORA_MODULES="a=pirate b=./pirate c=~/pirate")


def test_a_repository_is_left_to_vllm() -> None:
    load(LORA_MODULES="a=org/adapter b=adapter")


def test_adapters_are_enabled_by_naming_them() -> None:
    configuration = load(LORA_MODULES="a=org/adapter")
    assert configuration.values["ENABLE_LORA"] == ("1", "LORA_MODULES")
    words = [word for _, option in configuration.options() for word in option]
    assert "--enable-lora" in words
    assert "ENABLE_LORA" not in load().values


def test_without_a_gpu_there_is_a_slot_more_than_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    two = "a=org/a b=org/b"
    assert load(LORA_MODULES=two).values["MAX_LORAS"] == ("3", "no GPU")
    assert load(LORA_MODULES=two, MAX_LORAS="9").values["MAX_LORAS"] == ("9", "environment")
    configuration = load(LORA_MODULES=two, MAX_LORAS="2", MAX_CPU_LORAS="2")
    assert configuration.values["MAX_LORAS"].text == "3"
    assert "MAX_CPU_LORAS" not in configuration.values
    assert [note.partition(":")[0] for note in configuration.notes] == [
        "MAX_LORAS=2 is read as 3",
        "MAX_CPU_LORAS=2 is read as 3",
    ]
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert "MAX_LORAS" not in load(LORA_MODULES=two).values


def test_a_higher_rank_can_be_allowed(tmp_path: Path, adapter_folder: Path) -> None:
    text = f"a={make_adapter(tmp_path / 'large', {'r': 64})}"
    load(LORA_MODULES=text, MAX_LORA_RANK="64")
    load(LORA_MODULES=text, VLLM_EXTRA_ARGS="--max-lora-rank 64")
    load(LORA_MODULES=text, VLLM_EXTRA_ARGS="--max-lora-rank=64")


# What is wrong with an entry

ONE = {"name": "a", "path": "org/a"}


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([{"path": "org/a"}], "adapter 1: has no name."),
        ([{"name": "", "path": "org/a"}], "adapter 1: has no name."),
        ([{"name": "a"}], "adapter 1 (a): has no path."),
        ([{"name": "a", "path": 5}], "adapter 1 (a): has no path."),
        ([{"name": 5, "path": "org/a"}], "adapter 1 (5): has no name."),
        (["a="], "adapter 1 (a): has no path."),
        (["=org/a"], "adapter 1: has no name."),
        (["org/a"], 'adapter 1: "org/a" is neither name=path nor a JSON object.'),
        ([5], "adapter 1: 5 is neither name=path nor a JSON object."),
        ([None], "adapter 1: null is neither name=path nor a JSON object."),
        (
            [ONE, ONE | {"rank": 8, "name": "b"}],
            "adapter 2 (b): unknown key 'rank'; allowed: "
            "name, path, base_model_name, is_3d_lora_weight.",
        ),
        ([ONE, ONE], "adapter 2 (a): the model or an adapter before it has the same name."),
        (
            ["org/model=org/a"],
            "adapter 1 (org/model): the model or an adapter before it has the same name.",
        ),
    ],
)
def test_a_wrong_entry_is_named(entries: list[Any], line: str) -> None:
    assert problems(LORA_MODULES=json.dumps(entries)) == [f"LORA_MODULES: {line}"]


def test_every_wrong_entry_is_named() -> None:
    first, second = problems(LORA_MODULES="a b=/no/such c=org/c")
    assert first == 'LORA_MODULES: adapter 1: "a" is neither name=path nor a JSON object.'
    assert second == "LORA_MODULES: adapter 2 (b): /no/such is not a folder."


def test_a_list_must_not_be_empty() -> None:
    assert problems(LORA_MODULES=",") == ["LORA_MODULES=',': lists no adapter."]


def test_the_name_of_an_adapter_must_differ_from_each_name_of_the_model() -> None:
    names = {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "a,team/b"}
    (line,) = problems(LORA_MODULES="team/b=org/x", **names)
    assert line.startswith("LORA_MODULES: adapter 1 (team/b): the model or ")
    load(LORA_MODULES="org/model=org/x", **names)


def test_another_source_is_named(tmp_path: Path) -> None:
    flags = {"lora-modules": [{"name": "a"}]}
    file = write(tmp_path, "worker.yaml", {"default": {"flags": flags}})
    (line,) = problems(WORKER_CONFIG_FILE=file)
    assert line == "LORA_MODULES (WORKER_CONFIG_FILE): adapter 1 (a): has no path."


# What is wrong with a folder


@pytest.mark.parametrize("path", ["/no/such", "./no", "~/no/such", "~nobody-at-all/x", "a/b/c"])
def test_a_folder_must_be_there(path: str) -> None:
    (line,) = problems(LORA_MODULES=f"a={path}")
    assert line == f"LORA_MODULES: adapter 1 (a): {path} is not a folder."


def test_a_folder_must_hold_an_adapter(tmp_path: Path) -> None:
    assert says(tmp_path) == f"{tmp_path} has no adapter_config.json."
    assert says(Path(__file__)) == f"{__file__} is not a folder."
    write(tmp_path, "adapter_config.json", {"r": 8})
    weights = "adapter_model.safetensors, adapter_model.bin, adapter_model.pt"
    assert says(tmp_path) == f"{tmp_path} has none of {weights}."


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("{", "cannot be read: Expecting property name enclosed in double quotes: "
              "line 1 column 2 (char 1)."),
        ("[]", "is not a JSON object."),
        ('{"peft_type": "IA3"}',
         "has no r, lora_alpha, target_modules, so it is not LoRA in PEFT's format."),
    ],
)  # fmt: skip
def test_an_adapters_configuration_must_be_one(tmp_path: Path, config: str, line: str) -> None:
    folder = make_adapter(tmp_path / "a", config)
    assert says(folder) == f"{folder / 'adapter_config.json'} {line}"


def test_the_rank_must_fit(tmp_path: Path, adapter_folder: Path) -> None:
    large = make_adapter(tmp_path / "large", {"r": 32})
    uneven = make_adapter(tmp_path / "uneven", {"r": 8, "rank_pattern": {"q_proj": 64}})
    assert says(large) == "its rank is 32, above MAX_LORA_RANK=16."
    assert says(uneven) == "its rank is 64, above MAX_LORA_RANK=16."
    assert says(adapter_folder, MAX_LORA_RANK="1") == "its rank is 8, above MAX_LORA_RANK=1."


def says(path: Path, **environ: str) -> str:
    (line,) = problems(LORA_MODULES=f"a={path}", **environ)
    return line.removeprefix("LORA_MODULES: adapter 1 (a): ")


# The names of the model


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("demo, acme/demo", ["demo", "acme/demo"]),
        (",a,,b,", ["a", "b"]),
        ("a,b,a", ["a", "b"]),
        ('["a", "team/b"]', ["a", "team/b"]),
    ],
)
def test_a_model_has_several_names(text: str, names: list[str]) -> None:
    assert load(OPENAI_SERVED_MODEL_NAME_OVERRIDE=text).settings.served_model_names == names


def test_a_list_in_a_file_gives_names(tmp_path: Path) -> None:
    file = write(tmp_path, "vllm.yaml", {"served-model-name": ["a", "team/b"]})
    assert load(VLLM_CONFIG_FILE=file).settings.served_model_names == ["a", "team/b"]


def test_a_model_without_other_names_is_called_as_it_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert load(MODEL_NAME=str(folder)).settings.served_model_names == [str(folder)]


@pytest.mark.parametrize("text", [",", " , ,", "[]", '[""]'])
def test_a_model_must_have_a_name(text: str) -> None:
    (line,) = problems(OPENAI_SERVED_MODEL_NAME_OVERRIDE=text)
    assert line == (
        f"OPENAI_SERVED_MODEL_NAME_OVERRIDE={text.strip()!r}: "
        "must be one or more comma-separated names."
    )


def test_names_as_json_must_be_json() -> None:
    (line,) = problems(OPENAI_SERVED_MODEL_NAME_OVERRIDE="[a")
    assert "is not valid JSON" in line
