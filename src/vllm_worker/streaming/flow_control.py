"""The pace of a stream: its tokens stay in the engine until a piece of them is wanted.

Tokens that leave in one piece then go through vLLM's application as one output. Handled one by
one, they would cost more than all else that this process does.
"""

import asyncio
from collections.abc import Callable


class Pace:
    """Between the reader of one stream, who asks for pieces, and the engine, which holds tokens.

    The engine takes part by `attach`. Where it does not, a pace changes nothing: the reader gets
    each token as it comes.
    """

    def __init__(self, max_delay: float, by_token: bool = False) -> None:
        """`max_delay` in seconds: how long a token is held at most; 0 means however long.

        With `by_token` the text of each token is kept for the reader.
        """
        self.max_delay = max_delay
        self.by_token = by_token
        self.attached = False
        """Whether an engine holds this stream's tokens, or did until the stream's end."""
        self.released = 0
        """How many tokens the engine has let go."""
        self._texts: list[str] = []
        self._emit: Callable[[], None] | None = None
        self._wanted = 0
        self._held = 0
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None

    # The reader's side

    def ask(self, tokens: int) -> None:
        """From now on, that many tokens are let go at once, and fewer when they are overdue."""
        self._wanted = max(tokens, 0)
        if self._emit and (0 < tokens <= self._held or self._overdue):
            self._emit()

    def pause(self) -> None:
        """From now on all tokens are held: the reader is sending a piece."""
        self._wanted = 0

    def take_texts(self) -> list[str]:
        """The texts of the tokens that were let go since the last call."""
        texts, self._texts = self._texts, []
        return texts

    # The engine's side

    def attach(self, emit: Callable[[], None]) -> None:
        """`emit` puts out what is held, and calls `let_go`."""
        self._emit = emit
        self.attached = True

    def hold(self, tokens: int) -> bool:
        """Notes new tokens; whether the engine should let go of all that it holds, now."""
        if tokens and not self._held and self.max_delay:
            self._timer = asyncio.get_running_loop().call_later(self.max_delay, self._fall_due)
        self._held += tokens
        return 0 < self._wanted <= self._held

    def let_go(self, texts: list[str]) -> None:
        """Notes that the engine holds nothing any more; `texts` by token, if they are kept."""
        self._texts += texts
        self.released += self._held
        self._held = 0
        self._overdue = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Notes that the engine is done with the stream, and has let go of all of it."""
        self._emit = None

    def _fall_due(self) -> None:
        self._overdue = True  # noted, since the clock may still say that it is not
        if self._wanted and self._emit:
            self._emit()
