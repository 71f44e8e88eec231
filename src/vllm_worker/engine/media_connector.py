"""Media in requests: fetched only from domains that the configuration allows.

vLLM fetches from anywhere when no domain is named, and so into the network that the worker is in.
"""

import os
from typing import Any

import aiohttp
from urllib3.util import parse_url
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

NAME = "vllm-worker"


def guard_media() -> None:
    """Make vLLM use the connector of this module, and follow no redirect to another domain."""
    os.environ["VLLM_MEDIA_CONNECTOR"] = NAME
    os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


@MEDIA_CONNECTOR_REGISTRY.register(NAME)
class GuardedConnector(MediaConnector):  # type: ignore[misc]
    """Checks the URL in the two methods through which every fetch of vLLM goes."""

    def __init__(
        self,
        *arguments: Any,
        allowed_local_media_path: str = "",
        allowed_media_domains: list[str] | None = None,
        **named: Any,
    ) -> None:
        super().__init__(
            *arguments,
            allowed_local_media_path=allowed_local_media_path,
            allowed_media_domains=allowed_media_domains,
            **named,
        )
        self._reads_files = bool(allowed_local_media_path)
        self._domains = allowed_media_domains or []

    def load_from_url(self, url: str, *arguments: Any, **named: Any) -> Any:
        self._check(url)
        return super().load_from_url(url, *arguments, **named)

    async def load_from_url_async(self, url: str, *arguments: Any, **named: Any) -> Any:
        """vLLM would answer with status 500, and the error's text, when a host does not."""
        self._check(url)
        try:
            return await super().load_from_url_async(url, *arguments, **named)
        except (aiohttp.ClientError, TimeoutError):
            raise ValueError(
                "The media could not be fetched: its host did not answer with it."
            ) from None

    def _check(self, url: str) -> None:
        """Raises ValueError, which vLLM answers with status 400."""
        if url[:5].lower() == "data:":
            return
        target = parse_url(url)
        if target.scheme == "file":
            # vLLM's own refusal would be answered with status 500.
            if not self._reads_files:
                raise ValueError("This worker does not read files: send media as a data URL.")
        elif target.scheme not in ("http", "https"):
            raise ValueError("The URL must be either a HTTP, data or file URL.")
        elif not self._domains:
            raise ValueError(
                "This worker does not fetch media: send a data URL. (ALLOWED_MEDIA_DOMAINS names "
                "the domains that it may fetch from.)"
            )
        elif target.hostname not in self._domains:
            raise ValueError(
                f"The URL must be from one of the allowed domains: {', '.join(self._domains)}."
            )
