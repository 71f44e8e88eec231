"""Downloads for jobs, from public addresses only: a job must not look into the worker's network."""

import ipaddress
import socket

import aiohttp

_BLOCK_BYTES = 64 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that has been given out of IPv6. What lies outside is local, or a way to wrap an address."""
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


class NotFetched(Exception):
    """Says why, without what is where in the worker's network; `too_large` if over the limit."""

    def __init__(self, why: str, too_large: bool = False) -> None:
        super().__init__(why)
        self.too_large = too_large


async def fetch_public(url: str, max_bytes: int, timeout_s: float) -> bytes:
    """Download a URL and follow its redirects; from public addresses only. Raises NotFetched."""
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
                    raise NotFetched(f"is larger than {max_bytes} bytes", too_large=True)
    except TimeoutError:
        raise NotFetched(f"could not be fetched within {timeout_s:g} s") from None
    except aiohttp.ClientResponseError as error:
        raise NotFetched(f"could not be fetched: status {error.status}") from None
    except (aiohttp.ClientError, PermissionError, ValueError):
        raise NotFetched("could not be fetched from a public address") from None
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
    if isinstance(ip, ipaddress.IPv6Address):
        if (wrapped := _wrapped(ip)) and not is_public(str(wrapped)):
            return False
        in_use = ip.ipv4_mapped or ip in _NAT64 or ip in _UNICAST
        if not in_use or ip in _DOCUMENTATION:
            return False
    elif ip in _PROTOCOLS:
        return False
    return ip.is_global and not ip.is_multicast


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, 6to4, Teredo or NAT64 address leads to."""
    if ip.teredo:
        return ip.teredo[1]
    if ip in _NAT64:
        return ipaddress.IPv4Address(ip.packed[-4:])
    return ip.ipv4_mapped or ip.sixtofour
