"""The models of one provider, by its own names of them."""

from starlette.requests import Request
from starlette.responses import Response

from vllm_worker.gateway.access import Access, Refused
from vllm_worker.gateway.front import PROVIDER_HEADER
from vllm_worker.web.requests import json_response


async def list_models(access: Access, request: Request) -> Response:
    """Those that the key's entities lead to. The provider is not asked: it may be asleep."""
    provider = request.headers[PROVIDER_HEADER]
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        name = access.name_of(given or request.headers.get("x-api-key", ""))
    except Refused as refused:
        error = {"message": refused.message, "type": refused.type, "param": None}
        return json_response({"error": error | {"code": refused.status}}, refused.status)
    listed = [
        {"id": model, "object": "model", "created": 0, "owned_by": provider}
        for model in access.models_at(provider, name)
    ]
    return json_response({"object": "list", "data": listed})
