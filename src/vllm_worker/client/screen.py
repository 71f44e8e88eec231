"""What people see: answers as Markdown while they come, tables, and plain text in a pipe."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from rich.markdown import Markdown

_BLOCK_END = re.compile(r"\n\s*\n")
_FENCE = re.compile(r"^\s*(```|~~~)", re.M)


def out() -> Console:
    """For results. Made when used, so that it writes to what stdout is by then."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def notes() -> Console:
    """For what is said beside results."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """A remark, faint, where it does not disturb a pipe."""
    notes().print(text, style="dim", markup=False)


def print_json(value: Any) -> None:
    """JSON for programs, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Rows under each other; without lines, so that they can be cut and pasted."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out().print(table, markup=False)


@contextmanager
def answer_shown(markdown: bool | None = None) -> Iterator["AnswerView"]:
    """Where the text of an answer goes, as it comes; as Markdown if people look at it."""
    view = AnswerView(sys.stdout.isatty() if markdown is None else markdown)
    try:
        yield view
    finally:
        view.finish()


class AnswerView:
    """Prints text as it comes. Of Markdown, the block that is not complete is drawn again with
    each addition, and scrolls away once it is: so that an answer may be longer than the screen.
    """

    def __init__(self, markdown: bool) -> None:
        self._console = out()
        self._open = ""
        self._live: Live | None = None
        self._markdown = markdown
        self._ended = True

    def add(self, text: str) -> None:
        """The next part of the answer."""
        if not text:
            return
        if not self._markdown:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._ended = text.endswith("\n")
            return
        self._open += text
        complete, self._open = split_blocks(self._open)
        if complete:
            self._stop()
            self._console.print(_markdown(complete), "")
        if self._open.strip():
            self._draw()

    def finish(self) -> None:
        """End the line, or leave the last block as it is."""
        if self._markdown:
            self._stop()
            if self._open.strip():
                self._console.print(_markdown(self._open))
        elif not self._ended:
            sys.stdout.write("\n")

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(_markdown(self._open))

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _markdown(text: str) -> "Markdown":
    from rich.markdown import Markdown  # takes time, which a pipe need not wait for

    return Markdown(text)


def split_blocks(text: str) -> tuple[str, str]:
    """Markdown that is complete, up to an empty line outside of code, and what follows it."""
    for end in reversed(list(_BLOCK_END.finditer(text))):
        if len(_FENCE.findall(text[: end.start()])) % 2 == 0:
            return text[: end.start()], text[end.end() :]
    return "", text
