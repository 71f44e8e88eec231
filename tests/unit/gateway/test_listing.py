from functools import partial

import httpx
import pytest
from starlette.routing import request_response

from vllm_worker.gateway.access import Access
from vllm_worker.gateway.file import GatewayFile
from vllm_worker.gateway.front import PROVIDER_HEADER
from vllm_worker.gateway.listing import list_models


@pytest.mark.parametrize(
    ("headers", "listed"),
    [
        ({"Authorization": "Bearer alice's"}, ["m"]),
        ({"x-api-key": "alice's"}, ["m"]),
        ({"Authorization": "Bearer bob"}, ["big", "m"]),
        ({"Authorization": "Bearer nobody's"}, None),
        ({}, None),
    ],
)
async def test_the_models_of_a_provider_that_a_key_may_ask_for(
    headers: dict[str, str], listed: list[str] | None, keyed_file: GatewayFile
) -> None:
    access = Access(keyed_file, keyed_file.models, {"ALICE_KEY": "alice's"})
    transport = httpx.ASGITransport(request_response(partial(list_models, access)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/", headers=headers | {PROVIDER_HEADER: "pod"})
    if listed is None:
        assert answer.status_code == answer.json()["error"]["code"] == 401
    else:
        assert [model["id"] for model in answer.json()["data"]] == listed
