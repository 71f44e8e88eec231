"""Which routes a job may name."""

import pytest

from vllm_worker.errors import JobError, NoSuchRoute, RouteRefused
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes.allowlist import RUNTIME_LORA, open_route


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ("/sleep", 403),
        ("/inference/v1/abort_requests", 403),
        ("/v1/load_lora_adapter?x=1", 403),
        ("/%73leep", 403),
        ("/metrics", 403),
        ("/v1/nope", 404),
        ("/v2/models/../sleep", 404),
        ("/v1/models/", 404),
        ("/v1/responses/a/b/cancel", 404),
        ("/v1/models\n", 404),
    ],
)
def test_a_route_that_is_shut_or_unknown_is_not_called(route: str, code: int) -> None:
    with pytest.raises(JobError) as raised:
        open_route(OpenAIJob(route=route, body={"a": 1}).path)
    assert (raised.value.code, raised.value.param) == (code, "route")


@pytest.mark.parametrize(
    "route",
    [
        "/v1/models",
        "/v1/models?x=1",
        "/v1/models/org/name",
        "/v1/responses/resp_1",
        "/v1/responses/resp%2F1/cancel",
    ],
)
def test_a_route_that_is_named_is_open(route: str) -> None:
    if "%2F" in route:
        with pytest.raises(NoSuchRoute):  # a slash, however written, parts a path
            open_route(OpenAIJob(route=route).path)
    else:
        open_route(OpenAIJob(route=route).path)


def test_adapters_are_loaded_at_run_time_where_the_operator_says_so() -> None:
    for route in RUNTIME_LORA:
        assert open_route(route, runtime_lora=True) == route
        with pytest.raises(RouteRefused):
            open_route(route)
    with pytest.raises(RouteRefused):
        open_route("/sleep", runtime_lora=True)
