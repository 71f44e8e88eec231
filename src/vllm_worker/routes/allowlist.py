"""Which routes of vLLM's application a job may name.

An allow rule: what a new vLLM adds stays shut until it is named here. A test goes through the
routes of the installed version and fails on one that is in none of these lists.
"""

import re
from typing import NewType

from vllm_worker.errors import NoSuchRoute, RouteRefused, nearest

ALLOWED = [
    "/v1/chat/completions",
    "/v1/chat/completions/batch",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v2/embed",
    "/pooling",
    "/classify",
    "/score",
    "/v1/score",
    "/generative_scoring",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/cohere/v2/chat",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/models/{model}",
    "/version",
    "/health",
    "/openapi.json",
]
"""Inference, and what tells about the model. `{response_id}` stands for one that vLLM has given,
`{model}` for any name.
"""

RUNTIME_LORA = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
"""Open where the operator says so (VLLM_ALLOW_RUNTIME_LORA_UPDATING)."""

REFUSED = {
    "changes the worker": [
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/scale_elastic_ep", "/sleep",
        "/wake_up", "/pause", "/resume", "/reset_prefix_cache", "/reset_mm_cache",
        "/reset_encoder_cache", "/release_kv_cache_memory", "/collective_rpc",
        "/fault_tolerance/apply", "/start_profile", "/stop_profile",
        "/init_weight_transfer_engine", "/shutdown_weight_transfer_engine",
        "/start_weight_update", "/start_draft_weight_update", "/update_weights",
        "/update_weight_version", "/finish_weight_update",
    ],
    "reaches into other clients' jobs": ["/abort_requests", "/inference/v1/abort_requests"],
    "is for those who run the worker": [
        "/metrics", "/load", "/ping", "/ready", "/readyz", "/server_info", "/kv_event_sources",
        "/is_sleeping", "/is_paused", "/is_scaling_elastic_ep", "/fault_tolerance/status",
        "/get_world_size", "/weight_info", "/weight_checker", "/tokenizer_info", "/docs",
        "/docs/oauth2-redirect", "/redoc",
    ],
    "is a part of serving that is spread over machines": [
        "/inference/v1/generate", "/v1/chat/completions/render", "/v1/chat/completions/derender",
        "/v1/completions/render", "/v1/completions/derender", "/v1/messages/render",
        "/v1/responses/render", "/cohere/v2/chat/render", "/v1/systemone",
    ],
    "has not been tried with this worker": ["/v1/decisions"],
    "is another name for routes that a job can name itself": ["/invocations"],
    "needs a connection that stays open": ["/v1/realtime"],
}  # fmt: skip
"""Why → routes that a job may not name."""


OpenRoute = NewType("OpenRoute", str)
"""A route as it is written in ALLOWED."""


def open_route(path: str, runtime_lora: bool = False) -> OpenRoute:
    """The route that a path leads to; with `runtime_lora`, those are open too that load adapters.

    Raises RouteRefused for one that is closed to jobs, NoSuchRoute for one that nobody has named.
    """
    if runtime_lora and path in RUNTIME_LORA:
        return OpenRoute(path)
    for why, routes in REFUSED.items():
        if path in routes:
            raise RouteRefused(f"{path} is closed to jobs: it {why}.", "route")
    for route, form in _FORMS.items():
        if form.fullmatch(path):
            return OpenRoute(route)
    raise NoSuchRoute(f"{path} is not a route of this worker.{nearest(path, ALLOWED)}", "route")


_PLACES = {"response_id": "resp_[^/]+", "model": ".+"}
_FORMS = {
    route: re.compile(re.sub(r"\\{(\w+)\\}", lambda place: _PLACES[place[1]], re.escape(route)))
    for route in ALLOWED
}
