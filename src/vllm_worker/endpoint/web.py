"""What both sides of the protocol need of HTTP: JSON in and out, limits, and gone clients."""

import asyncio
import json
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from vllm_worker.endpoint.errors import RequestError

T = TypeVar("T")


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON response. Half a surrogate pair becomes "?": it is valid in JSON, but not in UTF-8."""
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


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do `work` for as long as the client stays. The request's body must have been read.

    Raises ClientDisconnect, after `work` has been cancelled, when the client goes.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise ClientDisconnect
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        message = f"the body is larger than {limit} bytes"
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
