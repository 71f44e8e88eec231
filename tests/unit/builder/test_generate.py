"""Generated files are current, and a figure that has changed makes the check fail."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cold_start_report, report
from builder import doc_parts, generate

NEED_VLLM = {"src/vllm_worker/configuration/options.json", "docs/structured-outputs.md"}


@pytest.mark.parametrize("path", sorted(generate.FILES.keys() - NEED_VLLM))
def test_a_generated_file_is_current(path: str) -> None:
    assert generate.FILES[path]() == (generate.ROOT / path).read_text(), "run `make generate`"


def test_the_readme_shows_other_figures_when_the_results_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(report.RESULTS.read_text())
    for row in content["medians"]:
        if row["system"] == "ours":
            row["tokens_per_s"] *= 2
    results = tmp_path / "results.json"
    results.write_text(json.dumps(content))
    monkeypatch.setattr(report, "RESULTS", results)
    readme = generate.ROOT / "README.md"
    assert generate.readme() != readme.read_text()


def test_figures_are_multiples_of_the_proxy() -> None:
    results = report.load()
    doubled = {
        key: replace(figures, posts=2 * figures.posts) if key[-1] == "ours" else figures
        for key, figures in results.medians.items()
    }
    ratio = results.ratio("posts", "chat stream", 64, "proxy")
    table = doc_parts.figures(replace(results, medians=doubled), cold_start_report.load())
    row = next(line for line in table.splitlines() if line.startswith("| chat stream"))
    assert f"{2 * ratio:.2f} ×" in row


def test_what_is_between_two_marks_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- pins -->\nold\n<!-- end of pins -->\nb\n"
    expected = "a\n<!-- pins -->\n\nnew\n\n<!-- end of pins -->\nb\n"
    assert generate._between(text, "new\n", "pins") == expected


POOLS = {
    "AMPERE_16", "AMPERE_24", "ADA_24", "ADA_32_PRO", "AMPERE_48", "ADA_48_PRO", "AMPERE_80",
    "ADA_80_PRO", "HOPPER_141", "BLACKWELL_96", "BLACKWELL_180",
}  # fmt: skip
"""RunPod's pools of GPUs, all with at least the compute capability of the image's kernels, 7.5."""


def test_runpods_files_fit_the_image() -> None:
    hub = json.loads((generate.ROOT / ".runpod/hub.json").read_text())["config"]
    tests = json.loads((generate.ROOT / ".runpod/tests.json").read_text())
    (form,) = json.loads((generate.ROOT / "worker-config.json").read_text())["versions"].values()
    cuda = generate.cuda_version()
    assert hub["allowedCudaVersions"] == tests["config"]["allowedCudaVersions"] == [cuda]
    assert form["minimumCudaVersion"] == cuda
    assert set(hub["gpuIds"].split(",")) <= POOLS
    assert tests["config"]["gpuCount"] == hub["gpuCount"] == 1
    # A cold start of vLLM on a GPU took 60 to 70 s elsewhere.
    assert all(test["timeout"] >= 300_000 for test in tests["tests"])
