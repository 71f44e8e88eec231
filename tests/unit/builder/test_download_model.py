"""What goes into an image, from a Hub that is played by a small server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.download_model import DownloadError, main, wanted_files
from tests.support.hub import COMMIT, Hub
from tests.support.threaded_server import serving


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["config.json", "model.safetensors"], ["config.json", "model.safetensors"]),
        (["model.safetensors", "pytorch_model.bin", "model.onnx"], ["model.safetensors"]),
        (["model-1.safetensors", "consolidated.safetensors"], ["model-1.safetensors"]),
        (["consolidated.safetensors", "params.json"], ["params.json", "consolidated.safetensors"]),
        (["pytorch_model-00001.bin", "training_args.bin"], ["pytorch_model-00001.bin"]),
        (["onnx/model.onnx", "onnx/config.json", "x.safetensors"], ["x.safetensors"]),
        (["1_Pooling/config.json", "2_Dense/model.safetensors"], None),
        (["README.md", ".gitattributes", "image.png", "model.gguf", "tf_model.h5"], []),
        (["tokenizer.model", "vocab.txt", "chat_template.jinja", "modeling_x.py"], None),
    ],
)
def test_only_what_vllm_reads_is_downloaded(files: list[str], wanted: list[str] | None) -> None:
    assert wanted_files(files) == (files if wanted is None else wanted)


def test_a_tokenizer_has_no_weights() -> None:
    assert wanted_files(["tokenizer.json", "model.safetensors"], weights=False) == [
        "tokenizer.json"
    ]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    with serving(hub.app) as hub.url:
        yield hub


def test_a_model_lands_in_the_worker_s_cache_and_is_not_fetched_twice(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"HF_ENDPOINT": hub.url, "BASE_PATH": str(tmp_path), "MODEL_NAME": "owner/small"}
    main(environ | {"HF_TOKEN": "hf_secret"})
    said = "".join(capsys.readouterr())
    assert "owner/small: 3 files" in said
    assert "3 files left out" in said
    assert "Bearer hf_secret" in hub.tokens
    assert "hf_secret" not in said
    snapshot = tmp_path / f"huggingface-cache/hub/models--owner--small/snapshots/{COMMIT}"
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert sorted(hub.asked) == ["config.json", "model.safetensors", "tokenizer.json"]
    main(environ)
    assert len(hub.asked) == 3


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"MODEL_NAME": "owner/nope"}, "no model owner/nope on the Hub, or it is private"),
        ({"MODEL_NAME": "owner/gated"}, "owner/gated is gated"),
        ({"MODEL_REVISION": "v9"}, "no revision v9"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "did not answer"),
        ({"BASE_PATH": "/proc/models"}, "/proc/models"),
    ],
)
def test_what_goes_wrong_is_said_plainly(
    hub: Hub, tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    given = {"HF_ENDPOINT": hub.url, "BASE_PATH": str(tmp_path), "MODEL_NAME": "owner/small"}
    with pytest.raises(DownloadError, match=says):
        main(given | environ)
