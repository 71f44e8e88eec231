"""Audio that comes inside a job: as base64, as a data URL or as an https URL."""

import base64
import binascii
from typing import Any

from vllm_worker.errors import BadRequest, TooLarge
from vllm_worker.jobs.public_fetch import NotFetched, fetch_public

_FORMS = 'base64 text, a data URL, an https URL, or {"data": base64 text, "filename": name}'


async def read_audio(file: Any, max_bytes: int, timeout_s: float) -> tuple[str, bytes]:
    """The name and the content of a job's `file`.

    Raises BadRequest, and TooLarge for more than `max_bytes` decoded.
    """
    name = "audio"
    if isinstance(file, dict):
        name, file = file.get("filename") or name, file.get("data")
        if not isinstance(name, str):
            raise BadRequest("file.filename should be a string.", "file.filename")
    if not isinstance(file, str) or not file:
        raise BadRequest(f"file should be {_FORMS}.", "file")
    if file.startswith("https://"):
        return name, await _fetch(file, max_bytes, timeout_s)
    if file.startswith("http://"):
        raise BadRequest("file must be an https:// URL.", "file")
    if file.startswith("data:"):
        head, _, file = file.partition(",")
        if not head.endswith(";base64"):
            raise BadRequest("file must be a data URL of the form data:…;base64,….", "file")
    return name, _decode(file, max_bytes)


def _decode(text: str, max_bytes: int) -> bytes:
    """Line breaks are ignored: many encoders write them."""
    compact = "".join(text.split())
    if len(compact) * 3 // 4 - compact[-2:].count("=") > max_bytes:
        raise _too_large(max_bytes)
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"file is not base64. It should be {_FORMS}.", "file") from None


async def _fetch(url: str, max_bytes: int, timeout_s: float) -> bytes:
    try:
        return await fetch_public(url, max_bytes, timeout_s)
    except NotFetched as error:
        if error.too_large:
            raise _too_large(max_bytes) from None
        raise BadRequest(f"file {error}.", "file") from None


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"file is larger than {max_bytes} bytes, which AUDIO_MAX_BYTES allows.", "file")
