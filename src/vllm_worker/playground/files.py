"""The playground's files, with headers that keep a browser from asking anybody else."""

import hashlib
import mimetypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from vllm_worker.web.requests import json_response

PREFIX = "/playground/"
ABOUT = f"{PREFIX}about.json"
"""Where the page asks at which door it is, which needs no key either."""
ROOT = Path(__file__).with_name("static")
PAGE = "index.html"

_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Asked for again each time, and answered with 304 as long as the worker is the same.
    "cache-control": "no-cache",
}


def welcome(request: Request, places: Mapping[str, str]) -> Response:
    """The answer at `/`: the page for a browser; for a program `places`, paths by what is there."""
    return file_response(request) if wants_page(request) else json_response(places)


def wants_page(request: Request) -> bool:
    """Whether a browser asks."""
    return "text/html" in request.headers.get("accept", "")


def is_file(path: str) -> bool:
    """Whether a request's path leads to a file, which needs no key."""
    return path.startswith(PREFIX) and path.removeprefix(PREFIX) in _names()


def file_response(request: Request, name: str = PAGE) -> Response:
    """One of the files; 304 for a browser that has it, 404 if there is none of this name."""
    if name not in _names():
        return json_response({"error": f"there is no {PREFIX}{name}"}, 404)
    content, tag = _content(name)
    headers = {**_HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return Response(content, media_type=kind, headers=headers)


@cache
def _names() -> frozenset[str]:
    """All there are, so that no name leads elsewhere."""
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return frozenset(path.relative_to(ROOT).as_posix() for path in found)


@cache
def _content(name: str) -> tuple[bytes, str]:
    content = (ROOT / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
