"""Listening sockets."""

import os
import socket

_BACKLOG = 2048
_UNREAD_MS = 60_000
"""Time in which a client takes bytes that were sent to it, before its connection is ended."""


class CannotListenError(Exception):
    """An address cannot be listened on; the text is the reason."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises CannotListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise CannotListenError(getattr(error, "strerror", None) or str(error)) from None
    # Its connections inherit these. asyncio, unlike uvloop, would leave Nagle's delay (40 ms) on.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
    # A process that is forked may outlive this one, and would take requests that nobody reads.
    os.register_at_fork(after_in_child=listener.close)
    return listener


def url_of(host: str, listener: socket.socket) -> str:
    """Where it is reached, without a path."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
