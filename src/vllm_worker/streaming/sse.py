"""Whole server-sent events out of the bytes of an event stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

_ERROR = ('data: {"error"', "event: error")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the blank line that ends it. `tokens` is how many it stands for."""

    text: str
    tokens: int = 1

    def split(self, tokens: int) -> tuple["Event", None]:
        """All of it: an event is whole."""
        return self, None

    @property
    def data(self) -> str:
        """The `data` field; vLLM's events have one line of it."""
        return self.text.partition("data: ")[2].rstrip()

    @property
    def is_error(self) -> bool:
        """Whether it tells the client to fail, in OpenAI's or in Anthropic's form."""
        return self.text.startswith(_ERROR)


async def whole_events(parts: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The text up to and with each blank line, however the stream was cut."""
    rest = b""
    async for part in parts:
        *events, rest = (rest + part).split(b"\n\n")
        for event in events:
            yield event.decode() + "\n\n"
    if rest:
        yield rest.decode() + "\n\n"


def count_tokens(event: str) -> int:
    """Number of tokens that an event counts as: one if it carries text.

    A chat's first event has only a role. Responses and Messages name their events, and those that
    bring text are called `….delta` or `…_delta`. A comment keeps a connection open.
    """
    if event.startswith(":"):
        return 0
    if event.startswith("event: "):
        return int(event.partition("\n")[0].endswith("delta"))
    return int('"delta":{"role"' not in event and not event.startswith("data: [DONE]"))
