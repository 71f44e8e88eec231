"""The files of this repository as text and as syntax trees, each read once in a process."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files(*patterns: str) -> list[Path]:
    """Those that match a pattern of Path.glob below the root, sorted."""
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(text(path))))
