"""The files that make the image agree with each other and with what is pinned."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest

from builder import generate

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUIREMENTS = ROOT / "builder" / "requirements"
STAGES = re.findall(r"^FROM .+ AS (\S+)$", DOCKERFILE, re.M)


def stage(name: str) -> str:
    """The text of one stage."""
    (text,) = re.findall(rf"^FROM [^\n]+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    return str(text)


def names(instruction: str, text: str) -> set[str]:
    return set(re.findall(rf"^{instruction} (\w+)", text, re.M))


@pytest.fixture(scope="module")
def bake() -> Any:
    with (ROOT / "docker-bake.hcl").open() as file:
        options = hcl2.SerializationOptions(strip_string_quotes=True)
        content = hcl2.load(file, serialization_options=options)
    return {
        kind: {name.strip('"'): body for block in content[kind] for name, body in block.items()}
        for kind in ("variable", "target")
    }


def test_the_targets_are_stages_of_the_dockerfile(bake: Any) -> None:
    targets = {body.get("target", "gpu") for body in bake["target"].values()}
    assert targets <= set(STAGES)
    assert set(bake["target"]) == {"default", "cu129", "cpu", "baked"}
    assert DOCKERFILE.rstrip().endswith("FROM gpu"), "what is built without a target"


def test_the_arguments_of_a_baked_image_are_those_of_the_dockerfile(bake: Any) -> None:
    arguments = set(bake["target"]["baked"]["args"])
    assert arguments - {"BAKE_ON"} == names("ARG", stage("baked"))
    assert arguments <= set(bake["variable"])


def test_an_older_cuda_is_a_suffix_of_the_bases_tag(bake: Any) -> None:
    suffix = bake["target"]["cu129"]["args"]["CUDA_SUFFIX"]
    assert bake["target"]["cu129"]["tags"].endswith(f'"{suffix}")}}')
    head = DOCKERFILE.partition("\nFROM ")[0]
    assert names("ARG", head) >= {"CUDA_SUFFIX", "VLLM_VERSION"}
    assert "BASE_IMAGE=vllm/vllm-openai:v${VLLM_VERSION}${CUDA_SUFFIX}\n" in head


def test_one_version_of_vllm() -> None:
    (pinned,) = re.findall(r"^vllm\S*==(\S+)", (REQUIREMENTS / "cuda.in").read_text(), re.M)
    assert f"ARG VLLM_VERSION={pinned}\n" in DOCKERFILE
    assert pinned == generate.VLLM_VERSION


def test_the_bake_file_has_that_version_too(bake: Any) -> None:
    assert bake["variable"]["VLLM_VERSION"]["default"] == generate.VLLM_VERSION


def test_runpods_form_names_the_image_that_bake_makes(bake: Any) -> None:
    name, version = (bake["variable"][name]["default"] for name in ("NAME", "VERSION"))
    (form,) = json.loads((ROOT / "worker-config.json").read_text())["versions"].values()
    assert form["imageName"] == f"{name}:{version}-vllm{generate.VLLM_VERSION}"


def test_a_token_can_only_come_as_a_secret() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if "HF_TOKEN" in line and line[0] != "#"]
    assert lines == [
        "RUN --mount=type=secret,id=HF_TOKEN python3 builder/download_model.py",
    ]


def test_a_token_that_is_not_exported_fails_no_build() -> None:
    """Docker looks for a file of the secret's name unless it is told that it is a variable."""
    said = [path.read_text() for path in (ROOT / "README.md", ROOT / "Dockerfile")]
    secrets = re.findall(r"--secret (\S+)", "".join(said))
    assert len(secrets) > 1
    assert set(secrets) == {"id=HF_TOKEN,env=HF_TOKEN"}


def test_only_what_the_base_image_lacks_is_added_to_it() -> None:
    added, pinned = (
        set((REQUIREMENTS / name).read_text().splitlines()) for name in ("image.txt", "cuda.txt")
    )
    assert added < pinned
    packages = {re.split(r"[=<>~ \[]", line)[0] for line in added}
    assert {"runpod", "soundfile"} <= packages
    assert not packages & {"vllm", "torch", "fastapi", "transformers", "numpy"}


def test_packages_that_are_there_are_left_as_they_are(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text('pytest==1.0\n# a comment\nnone-such==1 ; python_version < "3"\n')
    done = subprocess.run(
        [sys.executable, "builder/add_packages.py", str(lock)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.match(r"packages: adding 0 to \d+", done.stdout)
