"""What people see: answers as Markdown while they come, tables, and plain text in a pipe."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from rich.markdown import Markdown

_BLOCK_END = re.compile(r"\n\s*\n")
_FENCE = re.compile(r"^\s*(```|~~~)", re.M)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal acts on; line breaks and tabs are harmless."""
_WIDE = 100_000
"""Columns of a pipe, which has none: nothing is cut there."""


def visible(text: str) -> str:
    """Without the characters by which what others wrote could command a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def out() -> Console:
    """For results. Made when used, so that it writes to what stdout is by then."""
    return _console(sys.stdout)


def notes() -> Console:
    """For what is said beside results."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else _WIDE
    return Console(file=file, highlight=False, markup=False, emoji=False, width=width)


def say(text: str) -> None:
    """A remark, faint, where it does not disturb a pipe."""
    notes().print(visible(text), style="dim", soft_wrap=True)


def show(text: str) -> None:
    """A line of others' text: as it is in a pipe."""
    print(visible(text) if sys.stdout.isatty() else text, flush=True)


def print_json(value: Any) -> None:
    """JSON for programs, indented."""
    show(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Rows under each other; without lines, so that they can be cut and pasted."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(visible(str(cell)) for cell in row))
    out().print(table)


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
        self._open += visible(text)
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
    from markdown_it import MarkdownIt
    from rich.markdown import Markdown  # takes time, which a pipe need not wait for

    shown = Markdown("")
    # Rich would leave out what looks like HTML, as vector<int> does.
    plain = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    shown.parsed = plain.parse(text)
    return shown


def split_blocks(text: str) -> tuple[str, str]:
    """Markdown that is complete, up to an empty line outside of code, and what follows it."""
    for end in reversed(list(_BLOCK_END.finditer(text))):
        if len(_FENCE.findall(text[: end.start()])) % 2 == 0:
            return text[: end.start()], text[end.end() :]
    return "", text
