"""Where an endpoint is, and the URLs that follow from it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from vllm_worker.client.errors import ClientError, ExitCode

RUNPOD_URL = "https://api.runpod.ai/v2"
LOCAL_URL = "http://127.0.0.1:8000"

_QUEUE = re.compile(r"/v2/[^/]+$")
_OF_OPENAI = re.compile(r"(/openai)?/v1$")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint and the key it is asked with. URLs have no slash at their end."""

    url: str
    """Under which RunPod's operations are: `/run`, `/health`, …"""
    openai_url: str
    """The base URL of OpenAI's clients."""
    key: str | None = None

    @property
    def is_queue(self) -> bool:
        """Whether it is known by its URL as one of RunPod's queues, which carry only JSON."""
        return _QUEUE.search(self.url) is not None

    def through(self, provider: str) -> "Endpoint":
        """Of a gateway: this provider's OpenAI API, instead of the one that chooses by model."""
        root = _OF_OPENAI.sub("", self.openai_url)
        return Endpoint(self.url, f"{root}/provider/{provider}/v1", self.key)


def at_url(url: str, key: str | None = None) -> Endpoint:
    """An endpoint by any of its URLs: its root, `…/v1`, `…/v2/ID` or `…/v2/ID/openai/v1`.

    White space around a key, such as the line break at the end of a file, is no part of it.
    """
    plain = url.strip().rstrip("/")
    if "@" in plain:  # not quoted: what is before it is secret
        message = "the URL of an endpoint has no password in it; --api-key takes the key"
        raise ClientError(message, ExitCode.USAGE)
    try:
        parts = urlsplit(plain)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or any(mark in plain for mark in "?#"):
        message = f"{url!r} is not the URL of an endpoint, such as {LOCAL_URL}"
        raise ClientError(message, ExitCode.USAGE)
    root = _OF_OPENAI.sub("", plain)
    # RunPod's gateway and the local endpoint have OpenAI's API under /openai; a server has not.
    openai_url = f"{root}/openai/v1" if _QUEUE.search(root) else f"{root}/v1"
    return Endpoint(root, openai_url, _checked((key or "").strip()) or None)


def _checked(key: str) -> str:
    """Without a word of the key: an HTTP client would quote it in its error."""
    if not (key.isascii() and key.isprintable()):
        message = "the key has a line break or a letter that no key has: is it one key, and whole?"
        raise ClientError(message, ExitCode.USAGE)
    return key


def on_runpod(endpoint_id: str, key: str | None, base_url: str = RUNPOD_URL) -> Endpoint:
    """A queue endpoint on RunPod, by its id."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint_id):
        message = f"{endpoint_id!r} is not the id of an endpoint; --url takes URLs"
        raise ClientError(message, ExitCode.USAGE)
    return at_url(f"{base_url.rstrip('/')}/{endpoint_id}", key)


def is_runpod(url: str) -> bool:
    """Whether RunPod's own key may be sent there."""
    host = urlsplit(url).hostname or ""
    return urlsplit(url).scheme == "https" and (host == "runpod.ai" or host.endswith(".runpod.ai"))
