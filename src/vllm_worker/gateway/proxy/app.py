"""LiteLLM's proxy behind the gateway's paths, in one process."""

import asyncio
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop
import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, request_response

from vllm_worker.errors import StartFailure
from vllm_worker.gateway.access import Access
from vllm_worker.gateway.discovery import discover
from vllm_worker.gateway.file import GatewayFile
from vllm_worker.gateway.front import Front
from vllm_worker.gateway.health import health
from vllm_worker.gateway.listing import list_models
from vllm_worker.gateway.litellm_config import litellm_config
from vllm_worker.gateway.passage import Passages
from vllm_worker.gateway.upstream import Upstream
from vllm_worker.web.listener import CannotListenError, listen, url_of
from vllm_worker.web.requests import json_response

logger = logging.getLogger(__name__)

_GRACEFUL_S = 30
_KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, LiteLLM among them: they would meet a closed one."""
_UPSTREAM = "/upstream"
_NO_LIMIT = aiohttp.ClientTimeout(total=None)
"""Upstream limits the wait for the beginning of an answer."""
_VARIABLES = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is downloaded at import
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # else equal tokens end a stream
    "NETRC": os.devnull,  # aiohttp would take keys from there
}


def serve(file: GatewayFile, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartFailure."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises it once more when it is done
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_serve(file, environ))


async def _serve(file: GatewayFile, environ: Mapping[str, str]) -> None:
    try:
        listener = listen(file.host, file.port)
    except CannotListenError as error:
        raise StartFailure(f"{file.host}:{file.port} cannot be listened on: {error}") from None
    os.environ.update(_VARIABLES)
    connector = aiohttp.TCPConnector(limit=0)
    with listener, tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        async with aiohttp.ClientSession(
            connector=connector, timeout=_NO_LIMIT, trust_env=True
        ) as session:
            # An address that LiteLLM can ask, where this one is all of them.
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(file.host, file.host)
            here = url_of(host, listener)
            app = await _assemble(file, environ, session, here, Path(folder))
            logger.info("serving on %s/v1", url_of(file.host, listener))
            options = uvicorn.Config(
                app, log_level="critical", access_log=False, server_header=False,
                timeout_graceful_shutdown=_GRACEFUL_S, timeout_keep_alive=_KEEP_ALIVE_S,
            )  # fmt: skip
            await uvicorn.Server(options).serve([listener])


async def _assemble(
    file: GatewayFile,
    environ: Mapping[str, str],
    session: aiohttp.ClientSession,
    here: str,
    folder: Path,
) -> Front:
    """The application, which is reached at the URL `here`; LiteLLM's file goes into `folder`."""
    headers = {
        name: {"Authorization": f"Bearer {environ[provider.key]}"} if provider.key else {}
        for name, provider in file.providers.items()
    }
    models = await discover(file, headers, session)
    for entity, targets in models.items():
        logger.info("%s: %s", entity, ", ".join(target.provider for target in targets))
    access, passages = Access(file, models, environ), Passages()
    # LiteLLM asks providers through this process, with a password.
    password = secrets.token_urlsafe(32)
    upstream = Upstream(file.providers, headers, password, session, passages)
    config = folder / "litellm.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(litellm_config(file, models, here + _UPSTREAM, password)))
    litellm = _litellm(config)
    from vllm_worker.gateway.proxy.hooks import hooks

    hooks.know(file, access, passages)

    async def answer_health(_: Request) -> Response:
        return json_response({"providers": await health(file.providers, headers, session)})

    routes = [Route("/health", answer_health), Mount(_UPSTREAM, upstream.app())]
    listing = request_response(partial(list_models, access))
    return Front(litellm, file.providers, routes, listing, passages)


def _litellm(config: Path) -> Any:
    """LiteLLM's application, which reads its configuration when it starts."""
    logger.info("importing LiteLLM")
    # It does not start without one. Nobody has it: who may ask is the hooks' to say.
    os.environ["LITELLM_MASTER_KEY"] = f"sk-{secrets.token_urlsafe(32)}"
    os.environ["CONFIG_FILE_PATH"] = str(config)
    # Without OpenTelemetry LiteLLM compiles this anew at each request, and fails to import it.
    sys.modules["litellm.integrations.otel.logger"] = None  # type: ignore[assignment]
    from litellm.proxy.proxy_server import app

    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # tracebacks; the hooks tell the reason
    return app
