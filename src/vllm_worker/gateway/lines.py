"""A YAML file with the line of each of its values, for messages that name it."""

from collections.abc import Hashable
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Where a value is: names of mappings and places in lists, from the outside."""


class NotYAML(ValueError):
    """The text is not YAML, or no mapping; `line` is where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Lines:
    """The lines of a file's values, from 1."""

    def __init__(self) -> None:
        self._of: dict[Path, int] = {}
        self.repeated: list[Path] = []
        """Names that a mapping has twice, of which YAML keeps the last."""

    def of(self, path: Path) -> int:
        """The line of a value, or of what it would be in."""
        while path not in self._of and path:
            path = path[:-1]
        return self._of.get(path, 1)

    def note(self, node: yaml.Node, path: Path = (), line: int | None = None) -> None:
        """Remember the lines of a node and of those inside, unless an alias led to them before."""
        self._of[path] = (node.start_mark.line if line is None else line) + 1
        if isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key, value in node.value:
                if key.value in seen:
                    self.repeated.append((*path, str(key.value)))
                seen.add(key.value if isinstance(key.value, Hashable) else id(key))
                self.note(value, (*path, str(key.value)), key.start_mark.line)
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                self.note(value, (*path, place))


def read(text: str) -> tuple[dict[str, Any], Lines]:
    """Raises NotYAML."""
    lines = Lines()
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
        if node:
            lines.note(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # Not its whole text, which quotes the lines around, and so perhaps a key.
        raise NotYAML(line, f"not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise NotYAML(1, f"not valid YAML: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise NotYAML(1, "must hold a mapping with providers and models")
    return content, lines
