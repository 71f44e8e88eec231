"""Media in requests: fetched only from domains that the configuration allows.

vLLM fetches from anywhere when no domain is named, and so into the network that the worker is in.
"""

import os
from typing import Any

import aiohttp
from urllib3.util import Url
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

_NAME = "vllm-worker"


def guard_media() -> None:
    """Makes vLLM use the connector of this module, and follow no redirect to another domain."""
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", _NAME)
    os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


@MEDIA_CONNECTOR_REGISTRY.register(_NAME)
class _GuardedConnector(MediaConnector):  # type: ignore[misc]
    def _assert_url_in_allowed_media_domains(self, url_spec: Url) -> None:
        """Called before each fetch. vLLM answers the error with 400."""
        if not self.allowed_media_domains:
            raise ValueError(
                "This worker fetches no media: send it as a data URL. (ALLOWED_MEDIA_DOMAINS names "
                "the domains from which a worker fetches.)"
            )
        super()._assert_url_in_allowed_media_domains(url_spec)

    async def load_from_url_async(self, url: str, *arguments: Any, **options: Any) -> Any:
        """vLLM answers 500, with the error's text, when a host does not."""
        try:
            return await super().load_from_url_async(url, *arguments, **options)
        except (aiohttp.ClientError, TimeoutError):
            raise ValueError("The media could not be fetched: its host did not send it.") from None

    def _load_file_url(self, url_spec: Url, media_io: Any) -> Any:
        """vLLM's own refusal would be answered with 500."""
        if self.allowed_local_media_path is None:
            raise ValueError("This worker reads no files: send media as a data URL.")
        return super()._load_file_url(url_spec, media_io)
