"""What a chat request is made of."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.client.errors import ClientError
from vllm_worker.client.messages import schema_format, tools_of, user_message

SCHEMA = {"type": "object"}
TOOL = {"type": "function", "function": {"name": "f"}}


def written(folder: Path, content: Any) -> Path:
    file = folder / "content.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_images_go_before_the_text(tmp_path: Path) -> None:
    image = tmp_path / "dot.png"
    image.write_bytes(b"png")
    parts = user_message("what is it?", [str(image), "https://h/cat.jpg"])["content"]
    urls = [part["image_url"]["url"] for part in parts[:-1]]
    assert urls == ["data:image/png;base64,cG5n", "https://h/cat.jpg"]
    assert parts[-1] == {"type": "text", "text": "what is it?"}


@pytest.mark.parametrize(
    ("name", "said"), [("a.txt", "is not named as an image"), ("b.png", "cannot be read")]
)
def test_what_is_no_image_is_said(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        user_message("", [str(tmp_path / name)])


def test_a_schema_is_named_after_its_file(tmp_path: Path) -> None:
    asked = schema_format(written(tmp_path, SCHEMA))
    assert asked["json_schema"] == {"name": "content", "schema": SCHEMA}


@pytest.mark.parametrize("content", [[TOOL], {"tools": [TOOL]}, TOOL])
def test_tools_are_taken_in_each_form(tmp_path: Path, content: Any) -> None:
    assert tools_of(written(tmp_path, content)) == [TOOL]


@pytest.mark.parametrize(
    ("content", "said"), [("{", r"is not JSON: .* line 1"), ("3", "is not a JSON schema")]
)
def test_a_wrong_schema_is_said(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        schema_format(written(tmp_path, content))
    with pytest.raises(ClientError):
        tools_of(written(tmp_path, content))
