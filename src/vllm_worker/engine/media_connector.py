"""Media in requests: fetched from public addresses, or only from domains that are named.

vLLM fetches from anywhere when no domain is named, and so from the network that the worker is in.
"""

import asyncio
import os
from typing import Any

import aiohttp
from urllib3.util import parse_url
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

from vllm_worker.jobs.public_fetch import NotFetched, fetch_public

NAME = "vllm-worker"

_MAX_BYTES = 100 * 1024**2
_TIMEOUT_S = 30.0


def guard_media(allow_urls: bool = True) -> None:
    """Make vLLM use the connector of this module, and follow no redirect from a named domain.

    Without `allow_urls` (ALLOW_MEDIA_URLS) nothing is fetched where no domain is named.
    """
    GuardedConnector.allow_urls = allow_urls
    os.environ["VLLM_MEDIA_CONNECTOR"] = NAME
    os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


@MEDIA_CONNECTOR_REGISTRY.register(NAME)
class GuardedConnector(MediaConnector):  # type: ignore[misc]
    """Checks the URL in the two methods through which every fetch of vLLM goes."""

    allow_urls = True

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
        if self._is_unnamed(url):
            # Only scores and ranks come this way, which would hold up everything else meanwhile.
            raise ValueError("This route takes media as data URLs only.")
        return super().load_from_url(url, *arguments, **named)

    async def load_from_url_async(self, url: str, media_io: Any, **named: Any) -> Any:
        """vLLM would answer with status 500, and the error's text, when a host does not."""
        try:
            if self._is_unnamed(url):
                timeout_s = float(named.get("fetch_timeout") or _TIMEOUT_S)
                limit = getattr(media_io, "get_max_bytes", lambda: None)() or _MAX_BYTES
                content = await fetch_public(url, min(limit, _MAX_BYTES), timeout_s)
                return await asyncio.to_thread(media_io.load_bytes, content)
            return await super().load_from_url_async(url, media_io, **named)
        except NotFetched as error:
            raise ValueError(f"The media {error}.") from None
        except (aiohttp.ClientError, TimeoutError):
            raise ValueError(
                "The media could not be fetched: its host did not answer with it."
            ) from None

    def _is_unnamed(self, url: str) -> bool:
        """Whether the URL leads to a host and no domain is named, so that any public one may be.

        Raises ValueError, which vLLM answers with status 400, for what may not be loaded at all.
        """
        if url[:5].lower() == "data:":
            return False
        target = parse_url(url)
        if target.scheme == "file":
            # vLLM's own refusal would be answered with status 500.
            if not self._reads_files:
                raise ValueError("This worker does not read files: send media as a data URL.")
            return False
        if target.scheme not in ("http", "https"):
            raise ValueError("The URL must be either a HTTP, data or file URL.")
        if not self._domains:
            if not self.allow_urls:
                raise ValueError(
                    "This worker does not fetch media: send a data URL. (ALLOW_MEDIA_URLS or "
                    "ALLOWED_MEDIA_DOMAINS lets it fetch some.)"
                )
            return True
        if target.hostname not in self._domains:
            raise ValueError(
                f"The URL must be from one of the allowed domains: {', '.join(self._domains)}."
            )
        return False
