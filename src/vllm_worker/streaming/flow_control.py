"""Flow control of one stream: its tokens stay buffered until the reader wants a chunk of them.

Where the engine does the buffering, the tokens of a chunk go through vLLM's application as one
output. Handled one by one, they would cost more than all else that this process does.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum


class FlowGrade(StrEnum):
    """Where the tokens of a stream are buffered, the cheapest place first."""

    STATE = "state"
    """In vLLM's state of the request, before an output is made."""
    COLLECTOR = "collector"
    """On their way from there to vLLM's application, in outputs that are merged."""
    INTERVAL = "interval"
    """By vLLM's own stream_interval: no small first chunks, and no limit in time."""
    OFF = "off"
    """After vLLM's application, token by token."""


class FlowControl:
    """Between the reader of one stream, who requests chunks, and the engine that makes its tokens.

    A chunk is due when it is full, or when what is buffered has waited for `max_delay`. Whoever
    buffers tokens reports them: the engine once it has connected, the reader itself otherwise.
    """

    def __init__(self, max_delay: float, largest_chunk: int = 1, by_token: bool = False) -> None:
        """`max_delay` is in seconds; 0 stands for no limit. `largest_chunk` is in tokens. With
        `by_token` the engine keeps the text of each token for the reader.
        """
        self.max_delay = max_delay
        self.largest_chunk = largest_chunk
        self.by_token = by_token
        self.connected = False
        """Whether an engine buffers this stream's tokens, or did so until the stream's end."""
        self.flushed_tokens = 0
        """Number of tokens that the engine has flushed."""
        self._texts: list[str] = []
        self._wake_reader: Callable[[], None] = lambda: None
        self._flush_engine: Callable[[], bool] | None = None
        self._requested = 0
        self._buffered = 0
        self._left = 0
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None

    # The reader's side

    def on_due(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when a chunk is due and the engine has nothing to add to it."""
        self._wake_reader = wake

    def request(self, tokens: int) -> None:
        """Ask for a chunk of this many tokens."""
        self._requested = tokens
        if self._due():
            self._release()

    def pause(self) -> None:
        """Ask for nothing until the next `request`: the reader is sending a chunk."""
        self._requested = 0

    def taken(self, left: int, waited: float | None = None) -> None:
        """Note that the reader has taken a chunk. It has `left` tokens more, and something in them
        has waited for so many seconds; None stands for nothing.
        """
        if self.connected:
            self._left = left
        else:
            self.flushed(0)
            self._buffered = left
        if waited is not None and self.max_delay:
            self._start_timer(max(0.0, self.max_delay - waited))

    def take_texts(self) -> list[str]:
        """The texts of the tokens that were flushed since the last call."""
        texts, self._texts = self._texts, []
        return texts

    # The engine's side

    def connect(self, flush: Callable[[], bool]) -> None:
        """Let the engine buffer. `flush` puts out what is buffered and calls `flushed`, or returns
        False when there is nothing.
        """
        self._flush_engine = flush
        self.connected = True

    def disconnect(self) -> None:
        """The engine is done with the stream and has flushed all of it."""
        self._flush_engine = None

    # The side of whoever buffers

    def buffer(self, tokens: int) -> bool:
        """Note newly buffered tokens; return whether to flush now."""
        self._buffered += tokens
        if self.max_delay and not self._timer:
            self._start_timer(self.max_delay)
        return self._due()

    def flushed(self, tokens: int, texts: list[str] | None = None) -> None:
        """Note that nothing is buffered any more; `texts` by token, if they are kept."""
        self._texts += texts or []
        self.flushed_tokens += tokens
        self._buffered = 0
        self._overdue = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> bool:
        """The one rule for when a chunk leaves: it is full or overdue, and the reader wants it."""
        full = self._buffered + self._left >= self._requested
        return self._requested > 0 and (self._overdue or full)

    def _release(self) -> None:
        if self._flush_engine and self._flush_engine():
            return
        self._overdue = False
        self._wake_reader()

    def _start_timer(self, delay: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._fall_due)

    def _fall_due(self) -> None:
        self._timer = None
        self._overdue = True
        if self._requested:
            self._release()
