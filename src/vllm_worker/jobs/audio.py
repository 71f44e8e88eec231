"""Audio that comes inside a job: as base64, as a data URL or as an https URL."""

import base64
import binascii
import ipaddress
import socket
from typing import Any

import aiohttp

from vllm_worker.errors import BadRequest, TooLarge

_FORMS = 'base64 text, a data URL, an https URL, or {"data": base64 text, "filename": name}'
_BLOCK_BYTES = 64 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def read_audio(file: Any, max_bytes: int, timeout_s: float) -> tuple[str, bytes]:
    """The name and the content of a job's `file`.

    Raises BadRequest, and TooLarge for more than `max_bytes` decoded.
    """
    name = "audio"
    if isinstance(file, dict):
        name, file = file.get("filename") or name, file.get("data")
        if not isinstance(name, str):
            raise BadRequest("file.filename should be a string.", "file.filename")
    if not isinstance(file, str) or not file:
        raise BadRequest(f"file should be {_FORMS}.", "file")
    if file.startswith("https://"):
        return name, await _fetch(file, max_bytes, timeout_s)
    if file.startswith("http://"):
        raise BadRequest("file must be an https:// URL.", "file")
    if file.startswith("data:"):
        head, _, file = file.partition(",")
        if not head.endswith(";base64"):
            raise BadRequest("file must be a data URL of the form data:…;base64,….", "file")
    return name, _decode(file, max_bytes)


def _decode(text: str, max_bytes: int) -> bytes:
    """Line breaks are ignored: many encoders write them."""
    compact = "".join(text.split())
    if len(compact) * 3 // 4 - compact[-2:].count("=") > max_bytes:
        raise _too_large(max_bytes)
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"file is not base64. It should be {_FORMS}.", "file") from None


async def _fetch(url: str, max_bytes: int, timeout_s: float) -> bytes:
    """Download a URL and follow its redirects; from public addresses only."""
    connector = aiohttp.TCPConnector(socket_factory=_public_socket)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    content = bytearray()
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, max_redirects=5, raise_for_status=True) as response,
        ):
            async for block in response.content.iter_chunked(_BLOCK_BYTES):
                content += block
                if len(content) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise BadRequest(f"file could not be fetched within {timeout_s:g} s.", "file") from None
    except aiohttp.ClientResponseError as error:
        raise BadRequest(f"file could not be fetched: status {error.status}.", "file") from None
    except (aiohttp.ClientError, PermissionError, ValueError):
        # Without the reason, which would tell what is where in the worker's network.
        raise BadRequest("file could not be fetched from a public address.", "file") from None
    return bytes(content)


def _public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Called for each address that is about to be connected to, redirects and literals included.

    So a name that resolves differently the second time gains nothing.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(str(host)):
        raise PermissionError(f"{host} is not a public address")
    return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where IPv6 wraps an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    wrapped = _wrapped(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    return ip.is_global and not ip.is_multicast and (wrapped is None or is_public(str(wrapped)))


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, 6to4, Teredo or NAT64 address leads to."""
    if ip.teredo:
        return ip.teredo[1]
    if ip in _NAT64:
        return ipaddress.IPv4Address(ip.packed[-4:])
    return ip.ipv4_mapped or ip.sixtofour


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"file is larger than {max_bytes} bytes, which AUDIO_MAX_BYTES allows.", "file")
