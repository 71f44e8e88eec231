"""What a chat request is made of: messages, images, tools and schemas from files."""

import base64
import json
import mimetypes
import sys
from functools import partial
from pathlib import Path
from typing import Any

from vllm_worker.client.errors import ClientError, ExitCode

Message = dict[str, Any]


def user_message(text: str, images: list[str]) -> Message:
    """The user's turn; an image is a URL or a file."""
    if not images:
        return {"role": "user", "content": text}
    shown = [{"type": "image_url", "image_url": {"url": image_url(image)}} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def image_url(image: str) -> str:
    """A URL as it is; a file as a data URL."""
    if image.startswith(("http://", "https://", "data:")):
        return image
    kind = mimetypes.guess_type(image)[0] or ""
    if not kind.startswith("image/"):
        raise ClientError(f"{image} is not named as an image is, such as cat.png", ExitCode.USAGE)
    return f"data:{kind};base64,{base64.b64encode(read_bytes(Path(image))).decode()}"


def schema_format(file: Path) -> dict[str, Any]:
    """The response_format that holds an answer to the JSON schema in a file."""
    schema = read_json(file)
    if not isinstance(schema, dict | bool):
        raise ClientError(f"{file} is not a JSON schema, which is an object", ExitCode.USAGE)
    return {"type": "json_schema", "json_schema": {"name": file.stem or "answer", "schema": schema}}


def tools_of(file: Path) -> list[Any]:
    """Tools from a file: a list of them, `{"tools": […]}`, or one."""
    content = read_json(file)
    if isinstance(content, dict):
        content = content.get("tools", [content])
    if not isinstance(content, list) or not content:
        raise ClientError(f"{file} is not a list of tools", ExitCode.USAGE)
    return content


def read_json(file: Path) -> Any:
    """The JSON in a file. Raises ClientError with the line of a mistake."""
    return parse_json(read_bytes(file), str(file))


def parse_json(text: str | bytes, what: str) -> Any:
    """The JSON in a text, called `what`. Raises ClientError with the line of a mistake."""
    try:
        return json.loads(text, parse_constant=partial(no_number, what))
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{what} is not JSON: {error}", ExitCode.USAGE) from error


def no_number(what: str, word: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have, in what is called so."""
    raise ClientError(f"{what}: {word} is not JSON", ExitCode.USAGE)


def piped(what: str, instead: str) -> str:
    """What is piped in. Raises ClientError without a pipe, which says what to do instead."""
    text = read_pipe()
    if text is None:
        raise ClientError(f"there is no {what}: {instead}", ExitCode.USAGE)
    return text


def read_pipe() -> str | None:
    """All that a pipe has; None where people type."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    try:
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"what is piped in cannot be read: {error}", ExitCode.USAGE) from error


def read_bytes(file: Path) -> bytes:
    """A file's content. Raises ClientError when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise ClientError(message, ExitCode.USAGE) from error
