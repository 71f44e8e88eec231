"""HTTP requests: JSON in and out, limits, forms, disconnected clients."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Coroutine
from email.message import Message
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

T = TypeVar("T")

LONGEST_NUMBER = 12
"""Digits, of a time in ms for example; more of them are a problem, and too many no float."""


class RequestError(Exception):
    """A request that is not accepted: an HTTP status and a sentence for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON response. An unpaired surrogate becomes "?": it is valid in JSON, but not in UTF-8."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, headers, "application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it.

    Raises RequestError (413) when it is longer, ClientDisconnect when the client goes first.
    """
    body = bytearray()
    _check_size(int(request.headers.get("content-length", 0)), limit)
    async for chunk in request.stream():
        body += chunk
        _check_size(len(body), limit)
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """The JSON value in a body, whatever its content type. Raises RequestError (400)."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None


def query_number(request: Request, name: str) -> int | None:
    """A whole number in the query; None without one. Raises RequestError (400)."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > LONGEST_NUMBER:
        raise RequestError(HTTPStatus.BAD_REQUEST, f'"{name}" must be a whole number')
    return int(text)


async def parse_form(headers: Headers, body: bytes) -> dict[str, Any]:
    """The fields of a multipart form; a file becomes `{"data": base64 text, "filename": name}`.

    A field whose name ends in [] is a list; of another the last value counts.
    Raises RequestError (400).
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # Without the client's charset: a form is UTF-8, and some of Python's decoders take minutes.
    given = Message()
    given["content-type"] = headers["content-type"]
    if not (boundary := given.get_boundary()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body is not a form: no boundary is given")
    kind = Headers({"content-type": f'multipart/form-data; boundary="{boundary}"'})
    parser = MultiPartParser(kind, stream(), max_files=1, max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # the latter from what is not UTF-8
        message = f"the body is not a form: {error}"
        raise RequestError(HTTPStatus.BAD_REQUEST, message) from None
    fields: dict[str, Any] = {}
    try:
        for name in form:
            values = [await _form_value(value) for value in form.getlist(name)]
            fields[name] = values if name.endswith("[]") else values[-1]
    finally:
        await form.close()
    return fields


async def _form_value(value: str | UploadFile) -> Any:
    if isinstance(value, str):
        return value
    data = base64.b64encode(await value.read()).decode()
    return {"data": data, "filename": value.filename or "file"}


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do `work` for as long as the client stays. The request's body must have been read.

    Raises ClientDisconnect, after `work` has been cancelled, when the client goes.
    """
    return await run_until_gone(disconnected(receive), work)


async def run_until_gone(gone: Coroutine[Any, Any, None], work: Coroutine[Any, Any, T]) -> T:
    """The same, where `gone` returns when the client has gone."""
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if going.done():
            raise ClientDisconnect
        return working.result()
    finally:
        going.cancel()
        working.cancel()
        await asyncio.gather(working, going, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        message = f"the body is larger than {limit} bytes"
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def origin_of(request: Request) -> str:
    """`http://host:port`, as the client has it, also behind a proxy that speaks HTTPS."""
    secure = request.headers.get("x-forwarded-proto", "").lower() == "https"
    return f"{'https' if secure else request.url.scheme}://{request.url.netloc}"
